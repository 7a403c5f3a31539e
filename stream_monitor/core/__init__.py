"""The pure state of a partition: its models, their versions, and which of them are watched."""
