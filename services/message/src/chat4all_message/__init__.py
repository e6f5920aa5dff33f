"""The message service: takes messages into Kafka, reads the log of conversations. It never writes the log: the router does."""
