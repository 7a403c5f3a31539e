"""Files of rows: one reader, one judgement of what each column is, one report of it."""
