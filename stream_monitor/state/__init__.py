"""Stores the state of a partition together with its next offset."""
