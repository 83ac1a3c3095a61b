"""The families, by name. A new family is one file and one line here."""

from __future__ import annotations

from ca_seg.backbones.family import Family
from ca_seg.backbones.flux import Flux

FAMILIES: dict[str, Family] = {family.name: family for family in (Flux(),)}
