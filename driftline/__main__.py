"""``python -m driftline`` is the command line."""

from driftline.cli import app

app()
