"""Taking readings in at the edge, the pure part: bodies to rows, rows to Kafka messages, acknowledgements in order."""
