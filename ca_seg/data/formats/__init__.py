"""Users' own images and masks, in the formats of common tools."""
