"""The peers of the engine benchmark: Kafka Streams and Flink doing the same work, and a check of their results."""
