"""Images of results: overlays with legends, heat maps, palette masks, and one page that opens offline."""
