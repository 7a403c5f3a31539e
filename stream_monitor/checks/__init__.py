"""How much comes, and when: the usual rate, and what is no longer chance."""
