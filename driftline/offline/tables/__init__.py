"""Files of rows: one reader, one rule for the kind of each column, one report."""
