"""What a reference promises: thresholds from the budget, and what they can show."""
