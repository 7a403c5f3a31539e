"""Detects drift of machine-learning models in production from a stream of their predictions."""
