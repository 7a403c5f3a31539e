"""Whether to retrain: pure rules over alerts and what was done before."""
