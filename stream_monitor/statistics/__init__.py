"""Pure statistics: distances between distributions, tests, and fixed-point arithmetic."""
