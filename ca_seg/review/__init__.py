"""Looking at pseudo-labels: the pictures that are worth a look, and one page that shows them."""
