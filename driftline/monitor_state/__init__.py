"""Read the monitor's state from Redis without taking part in it."""
