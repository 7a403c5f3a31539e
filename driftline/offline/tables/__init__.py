"""Read files of rows: one reader, one inference of column kinds, one report."""
