"""What a challenger learns from: labelled events, read back from the log by offset ranges."""
