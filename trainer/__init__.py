"""The trainer: retrains a model after an alert and promotes the challenger if it is better."""
