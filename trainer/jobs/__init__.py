"""What the trainer remembers: its jobs, the champions and its outbox, in one SQLite file."""
