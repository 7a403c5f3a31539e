"""Labels and foreign logs from topics of their own into the log, at least once."""
