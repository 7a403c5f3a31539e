"""The dashboard: web pages and an HTTP API that show what the monitor and the trainer found."""
