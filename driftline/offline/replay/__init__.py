"""Recorded traffic through the monitor's own core: no Kafka, no Redis, no configuration."""
