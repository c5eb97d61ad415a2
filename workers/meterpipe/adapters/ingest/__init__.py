"""Taking readings in at the edge: HTTP, MQTT, and the gate through which all of it goes to Kafka."""
