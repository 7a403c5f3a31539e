"""The spool: a bounded folder on disk for events that Kafka does not accept now."""
