"""The trainer as a process: hears alerts, works on jobs, tells what it did."""
