"""Whether to retrain: pure rules over alerts and what was done before."""

from trainer.decision.decide import PASSING, Decision, History, Numbers, decide
from trainer.decision.naming import derived_id, event_id, job_id_of, next_version
from trainer.decision.quality import Span, is_broken, span_of
from trainer.decision.ranges import OffsetRange, start_before
from trainer.decision.spec import DAY_MS, RetrainSpec

__all__ = [
    "DAY_MS",
    "PASSING",
    "Decision",
    "History",
    "Numbers",
    "OffsetRange",
    "RetrainSpec",
    "Span",
    "decide",
    "derived_id",
    "event_id",
    "is_broken",
    "job_id_of",
    "next_version",
    "span_of",
    "start_before",
]
