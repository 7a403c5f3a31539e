"""The pool of the backtest is the pool that is served: the same losses give the same weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from driftline.offline.backtest.driftline_policy import FIRST_VERSION, Driftline
from driftline.offline.backtest.fitted_versions import FittedVersions
from driftline.offline.backtest.labelled_stream import LabelledStream
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.reference.profile import profile_to_data
from tests.unit.pool_registry import profile_of, store_version
from tests.unit.scored_stream import MODEL
from tests.unit.test_pool_weights import Follower
from trainer.evaluation.losses import Floats
from trainer.evaluation.vote import RENEW_EVENTS, VersionVote
from trainer.fitting.model_fit import LABEL
from trainer.policy.training_window import TrainingWindow
from trainer.registry.manifest import StoredPool
from trainer.service.pool_forming import members_of

N, FIRST, SECOND = 3_000, 600, 1_400


def turning(n: int) -> LabelledStream:
    """A stream whose concept turns slowly; each label is known with its row."""
    draw = np.random.default_rng(3)
    a, b = draw.normal(size=(2, n))
    angle = 0.8 * np.arange(n) / n
    label = (np.cos(angle) * a + np.sin(angle) * b + draw.normal(size=n) > 0).astype(int)
    frame = pd.DataFrame({"a": a, "b": b, LABEL: label})
    return LabelledStream(
        frame=frame,
        features=["a", "b"],
        values={"a": a.tolist(), "b": b.tolist()},
        labels=label.tolist(),
        times_ms=1_000 * np.arange(1, n + 1, dtype=np.int64),
        known_at=np.arange(n),
        n_training=FIRST,
        task="binary",
        positive=1,
        timed=False,
    )


def test_live_weights_equal_those_of_the_backtest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 2 is promoted in between; the losses go to both, block by block."""
    blocks: list[dict[str, Floats]] = []
    observe = VersionVote.observe

    def recorded(vote: VersionVote, losses: Mapping[str, Floats], scale: float = 1.0) -> bool:
        blocks.append(dict(losses))
        return observe(vote, losses, scale)

    live = Follower(tmp_path / "live", champion="1")
    versions = FittedVersions(turning(N), LogisticRegression)
    policy = Driftline(versions, live.context, MonitorSpec(), tmp_path / "backtest", pool=True)
    found: list[dict[str, float]] = []
    with closing(policy), closing(live.database):
        for end in range(FIRST + 100, N + 1, 100):
            with monkeypatch.context() as patched:
                patched.setattr(VersionVote, "observe", recorded)
                policy._compare_versions(end)
            while blocks:
                live.record(blocks.pop(0))
            assert policy._vote.state.weights == pytest.approx(live.weights)
            found.append(live.weights)
            if end == SECOND:
                serve_second(policy, live, end)

    assert found[0] == {FIRST_VERSION: 1.0}
    assert found[-1].keys() == {FIRST_VERSION, "2"}
    assert len({str(weights) for weights in found}) == 2 + (N - SECOND) // RENEW_EVENTS


def serve_second(policy: Driftline, live: Follower, end: int) -> None:
    """Promote version 2 in both; `test_pool_forming` has the trainer's first weights."""
    policy.stored["2"] = policy._store("2", np.arange(FIRST, end), TrainingWindow("all"))
    policy._serve("2", end, "drift")
    members = members_of(policy._vote.state.weights, {"1": "ab", "2": "cd"})
    pool = StoredPool(members=members, profile=profile_to_data(profile_of(MODEL, "2")))
    live.promote("drift", store_version(live.folder, MODEL, "2", caused_by="drift", pool=pool))
