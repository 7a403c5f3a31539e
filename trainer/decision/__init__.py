"""Whether to retrain: pure rules over alerts and what was done before."""

from trainer.decision.beside import QualityEpisode, clean_since_ms, quality_of
from trainer.decision.decide import PASSING, Decision, History, Numbers, decide, set_back
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
    "QualityEpisode",
    "RetrainSpec",
    "Span",
    "clean_since_ms",
    "decide",
    "derived_id",
    "event_id",
    "is_broken",
    "job_id_of",
    "next_version",
    "quality_of",
    "set_back",
    "span_of",
    "start_before",
]
