"""The comparison of champion and challenger on the same later events."""
