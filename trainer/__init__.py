"""Alerts to better models: retraining, comparison, promotion.  Contracts only, so far."""
