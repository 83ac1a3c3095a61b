"""Scripts that produced the shipped weights, data and tables. Not part of the installed package."""
