"""Detectors: is what comes now still what was normal, at a stated rate of false alarms."""
