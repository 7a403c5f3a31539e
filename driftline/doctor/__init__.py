"""Health checks of ``driftline doctor``."""
