"""Published datasets, each read as its authors released it."""
