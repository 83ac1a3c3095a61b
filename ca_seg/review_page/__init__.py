"""Reviewing labels: which images deserve a look, and a page that shows them."""
