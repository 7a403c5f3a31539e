"""Drills: inject a change into a copy of the live events, and measure the time to its alert."""
