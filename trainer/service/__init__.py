"""The trainer's process: consumes alerts, runs jobs, publishes what it did."""
