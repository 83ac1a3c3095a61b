"""Published datasets, each read in the layout in which its authors released it."""
