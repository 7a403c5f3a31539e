"""Drills: a change put into a shadow copy of the live stream, to measure how soon it alerts."""
