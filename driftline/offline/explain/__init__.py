"""Explain a reference: the thresholds from the alert budget, and the changes they detect."""
