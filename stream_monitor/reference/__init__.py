"""The reference of a model version: how it is fitted, stored, and looked up for new values."""
