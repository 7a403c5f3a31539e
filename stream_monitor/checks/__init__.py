"""Checks: each compares one aspect of the traffic or of the data with its reference."""
