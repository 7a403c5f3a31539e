"""Back-tests retrain policies on recorded rows: their error and their cost."""
