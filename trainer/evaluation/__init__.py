"""Is the challenger better?  Two models, the same later events, an interval, a gate."""
