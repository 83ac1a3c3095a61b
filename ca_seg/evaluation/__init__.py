"""A whole zero-shot evaluation: methods on splits, one results.json, one table, one page."""
