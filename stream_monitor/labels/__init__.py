"""Joins delayed labels with their predictions."""
