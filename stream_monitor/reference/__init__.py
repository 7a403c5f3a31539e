"""What was normal: a profile of the training data, and the way from a value to a channel."""
