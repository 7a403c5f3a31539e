"""State and offset of a partition, moved together."""
