"""The first room: record bytes become events, columns and a plan, or a dead letter."""
