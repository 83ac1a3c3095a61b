"""Produces the shipped backbones (mini, mini-plain), the word table and the shipped scenes."""
