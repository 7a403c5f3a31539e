"""Copy labels and events from other topics into the event topic, at least once."""
