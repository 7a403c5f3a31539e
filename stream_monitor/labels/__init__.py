"""Delayed labels, joined to their predictions."""
