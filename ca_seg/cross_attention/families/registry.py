"""The families of cross-attention models. A new one is a file and a line here."""

from __future__ import annotations

from typing import Any

from ca_seg.cross_attention.families.base import CrossFamily
from ca_seg.cross_attention.families.kandinsky5 import Kandinsky5Family, Kandinsky5ImageFamily
from ca_seg.cross_attention.families.ltx import LTXFamily
from ca_seg.cross_attention.families.ltx2 import LTX2Family
from ca_seg.cross_attention.families.pixart import PixArtFamily
from ca_seg.cross_attention.families.sana import SanaFamily
from ca_seg.cross_attention.families.unet import SDXLFamily, UNetFamily
from ca_seg.cross_attention.families.wan import WanFamily
from ca_seg.errors import UserError

CROSS_FAMILIES: dict[str, CrossFamily] = {
    family.name: family
    for family in (
        UNetFamily(),
        SDXLFamily(),
        PixArtFamily(),
        SanaFamily(),
        WanFamily(),
        LTXFamily(),
        LTX2Family(),
        Kandinsky5ImageFamily(),
        Kandinsky5Family(),
    )
}


def family_of(pipeline: Any) -> CrossFamily:
    """The family of a loaded diffusers pipeline, or of one that is derived from it.

    Raises:
        UserError: for any other object
    """
    names = {base.__name__ for base in type(pipeline).__mro__}
    for family in CROSS_FAMILIES.values():
        if names & set(family.pipelines):
            return family
    known = ", ".join(name for family in CROSS_FAMILIES.values() for name in family.pipelines)
    raise UserError(f"a {type(pipeline).__name__} has no cross-attention that is read", allowed=known)
