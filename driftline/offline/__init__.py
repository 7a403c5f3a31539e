"""Commands on files and recorded events, without a running monitor."""
