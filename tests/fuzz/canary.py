"""No reader may import this module, whatever a file names."""


class Canary:
    """A class that no file may name."""


def run() -> None:
    """A function that no file may name."""
