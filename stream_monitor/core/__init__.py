"""What is watched: models, their versions, and all their state."""
