"""Run recorded events through the monitor's core, without side effects."""
