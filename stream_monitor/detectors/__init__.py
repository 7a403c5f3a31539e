"""Change detectors (ADWIN, Page-Hinkley), calibrated to a stated rate of false alarms."""
