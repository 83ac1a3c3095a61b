"""From class maps on a coarse grid to a mask in the image's size."""
