"""Fitting the user's model in a process of its own, with limits, and telling how it went."""
