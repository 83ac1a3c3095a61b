"""Users' own images and masks, each file one format."""
