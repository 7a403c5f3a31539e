"""Compare two files column by column."""
