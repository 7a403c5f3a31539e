"""Training sets: labelled events, read from the event topic by offset ranges."""
