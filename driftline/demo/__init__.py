"""The demo: a year of real flights, a model that ages, and one broken unit."""
