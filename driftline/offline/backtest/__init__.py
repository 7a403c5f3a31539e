"""The whole loop on recorded rows: what retraining would have gained, and at what cost."""
