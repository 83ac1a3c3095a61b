"""Which versions made a result."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from ca_seg import __version__

PACKAGES = ("torch", "diffusers", "transformers", "pytorch-lightning", "torchmetrics", "numpy")


def versions() -> dict[str, str]:
    """Versions of ca_seg, Python and the installed libraries that figures depend on, by name."""
    result = {"ca_seg": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):  # Lightning and torchmetrics come with an extra
            result[package] = version(package)
    return result
