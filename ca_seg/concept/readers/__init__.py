"""Published ways to read maps from the attention of a diffusion transformer, on the same recordings.

Each reader is one function: the vectors or the attention of a recording in, class maps out. A new one is one file and
one line in `registry.py`.
"""
