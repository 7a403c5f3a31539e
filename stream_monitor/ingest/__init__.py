"""Ingest: decodes Kafka records to columns of events, and rejects invalid records."""
