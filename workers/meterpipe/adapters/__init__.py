"""Implementations of the ports: the only importers of Kafka, Cassandra, S3 and HTTP clients."""
