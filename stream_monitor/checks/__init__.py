"""Checks: each compares one aspect of the traffic or the data with what was normal."""
