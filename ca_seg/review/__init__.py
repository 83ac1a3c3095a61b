"""Looking at pseudo-labels: the images that are worth a look, and one page that shows them."""
