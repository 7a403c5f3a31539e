"""Watches machine-learning models in production, live: the fold of the log, and its rooms."""
