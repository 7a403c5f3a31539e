"""A place on disk for what Kafka does not take: bounded, checked, replayed."""
