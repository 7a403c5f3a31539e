"""Fits the user's model in a separate process with limits of time and memory."""
