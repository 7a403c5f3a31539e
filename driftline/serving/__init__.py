"""Serve the champion of a model in a model server, and follow changes.

from driftline.serving import ChampionModel

with ChampionModel("flights-late", bootstrap_servers=..., registry=Path(...)) as model:
    serving = model.wait(timeout_s=30)
    scores = serving.estimator.predict_proba(frame)
"""

from driftline.serving.champion import ChampionModel, NoChampion, ServedVersion

__all__ = ["ChampionModel", "NoChampion", "ServedVersion"]
