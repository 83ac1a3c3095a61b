"""Label files for other tools: one writer for each format, a manifest of what is done, and how sure the labels are."""
