"""Putting a version into service, in the order that keeps its profile ahead of its events."""

from trainer.promotion.announce import announce, update_of
from trainer.promotion.versions import version_letters

__all__ = ["announce", "update_of", "version_letters"]
