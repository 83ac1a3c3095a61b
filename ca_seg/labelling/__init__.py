"""Labels for whole datasets: a resumable run, its manifest and its files."""
