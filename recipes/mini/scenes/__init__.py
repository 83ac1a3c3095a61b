"""Composed scenes: emoji objects over generated stuff."""
