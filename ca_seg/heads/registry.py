"""The heads, by name. A new head is one file and one line here."""

from __future__ import annotations

from importlib import import_module

from ca_seg.errors import UnknownName
from ca_seg.heads.head import Head
from ca_seg.optional import optional_imports

HEADS = {  # imported when they are wanted: the libraries of some take seconds
    "linear": "ca_seg.heads.linear:LinearHead",
    "zero-shot-linear": "ca_seg.heads.zero_shot_linear:ZeroShotLinearHead",
    "convex-upsampling": "ca_seg.heads.convex_upsampling:ConvexUpsamplingHead",
    "smp": "ca_seg.heads.smp:SMPHead",
}


def head_class(name: str) -> type[Head]:
    """Raises UnknownName."""
    if name not in HEADS:
        raise UnknownName("head", name, HEADS)
    module, _, own = HEADS[name].partition(":")
    with optional_imports(f"the head {name!r}"):
        return getattr(import_module(module), own)
