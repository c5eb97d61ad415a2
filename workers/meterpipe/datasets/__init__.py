"""Sources of readings: public data sets, replay into Kafka, a seeded generator."""
