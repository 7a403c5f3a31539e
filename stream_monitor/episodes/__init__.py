"""Episodes: confirm a suspected change, follow it to its end, and write its alerts."""
