"""Tumbling windows in event time: mergeable statistics, compared with the reference."""
