"""The kinds of head, by name. A new kind is one file and one line here."""

from __future__ import annotations

from importlib import import_module

from ca_seg.errors import UnknownName
from ca_seg.heads.head import Head
from ca_seg.optional import optional_imports

HEADS = {  # imported on first use, because the libraries of some take seconds
    "linear": "ca_seg.heads.linear:LinearHead",
    "zero-shot-linear": "ca_seg.heads.zero_shot_linear:ZeroShotLinearHead",
    "fused-timesteps": "ca_seg.heads.fused_timesteps:FusedTimestepsHead",
    "convex-upsampling": "ca_seg.heads.convex_upsampling:ConvexUpsamplingHead",
    "smp": "ca_seg.heads.smp:SMPHead",
}


def head_kinds() -> tuple[str, ...]:
    """The kinds of head that can be trained, such as "linear"."""
    return tuple(HEADS)


def head_class(kind: str) -> type[Head]:
    """The class of a kind of head. Raises UnknownName."""
    if kind not in HEADS:
        raise UnknownName("head", kind, HEADS)
    module, _, name = HEADS[kind].partition(":")
    with optional_imports(f"the head {kind!r}"):
        return getattr(import_module(module), name)
