"""Which versions made a result."""

from __future__ import annotations

import platform
from importlib.metadata import version

from ca_seg import __version__

PACKAGES = ("torch", "diffusers", "transformers", "pytorch-lightning", "torchmetrics", "numpy")


def versions() -> dict[str, str]:
    """Versions of ca_seg, Python and the libraries that figures depend on, by name."""
    return {"ca_seg": __version__, "python": platform.python_version(), **{p: version(p) for p in PACKAGES}}
