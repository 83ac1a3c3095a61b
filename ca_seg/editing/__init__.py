"""Edits inside a region of a photograph, by any diffusion model; outside it the photograph stays byte for byte."""
