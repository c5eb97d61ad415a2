"""A pipeline on one machine: the real services and the workers as plain processes, no containers.

`services` starts Kafka, Cassandra and an S3 server in a data directory; `supervisor` keeps the workers running.
"""
