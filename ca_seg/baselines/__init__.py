"""Baselines: simple predictors that any method must beat, or that bound what a kind of method can reach."""
