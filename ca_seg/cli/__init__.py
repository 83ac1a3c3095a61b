"""The command line: the only files, with train.py and eval.py, that know of it."""
