"""Event-time tumbling windows of mergeable statistics, and distances from the reference."""
