"""What the trainer remembers: its jobs, the champions and its outbox, in one SQLite file."""

from trainer.jobs.champions import Champion, champion_of, crown, previous_champion
from trainer.jobs.database import Database
from trainer.jobs.job import Job, Outcome, State, Work, may_follow
from trainer.jobs.ledger import active_jobs, add_job, find_job, history_of, jobs_of, move
from trainer.jobs.outbox import Letter, put, ready, sent

__all__ = [
    "Champion",
    "Database",
    "Job",
    "Letter",
    "Outcome",
    "State",
    "Work",
    "active_jobs",
    "add_job",
    "champion_of",
    "crown",
    "find_job",
    "history_of",
    "jobs_of",
    "may_follow",
    "move",
    "previous_champion",
    "put",
    "ready",
    "sent",
]
