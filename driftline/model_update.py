"""Announcing a model version; it lives with the trainer, who does it at every promotion."""

from trainer.promotion.announce import announce

__all__ = ["announce"]
