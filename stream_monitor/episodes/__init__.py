"""Signals become episodes, episodes become alerts."""
