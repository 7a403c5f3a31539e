"""The trainer's state in one SQLite file: jobs, champions, positions, outbox."""
