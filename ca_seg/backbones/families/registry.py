"""The families, by name. A new family is one file and one line here."""

from __future__ import annotations

from typing import Any

import diffusers

from ca_seg.backbones.families.auraflow import AuraFlow
from ca_seg.backbones.families.base import Family
from ca_seg.backbones.families.chroma import Chroma
from ca_seg.backbones.families.cogvideox import CogVideoX
from ca_seg.backbones.families.cogview4 import CogView4
from ca_seg.backbones.families.flux import Flux
from ca_seg.backbones.families.flux2 import Flux2, Flux2Klein
from ca_seg.backbones.families.hunyuan_image import HunyuanImage
from ca_seg.backbones.families.hunyuan_video import HunyuanVideo
from ca_seg.backbones.families.ovis_image import OvisImage
from ca_seg.backbones.families.qwen_image import QwenImage
from ca_seg.backbones.families.sd3 import StableDiffusion3
from ca_seg.backbones.families.z_image import ZImage
from ca_seg.errors import UserError

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Flux(),
        Flux2(),
        Flux2Klein(),
        StableDiffusion3(),
        CogVideoX(),
        QwenImage(),
        Chroma(),
        AuraFlow(),
        CogView4(),
        HunyuanVideo(),
        HunyuanImage(),
        ZImage(),
        OvisImage(),
    )
}


def unavailable(family: Family) -> str:
    """Why the installed diffusers cannot run `family`; "" where it can."""
    missing = [name for name in (family.transformer, family.pipeline) if not hasattr(diffusers, name)]
    return f"diffusers {diffusers.__version__} has no {' and no '.join(missing)}" if missing else ""


def diffusers_class(family: Family, name: str) -> Any:
    """A class of diffusers that `family` needs. Raises UserError where the installed diffusers has none such."""
    if not hasattr(diffusers, name):
        raise UserError(
            f"the family {family.name} cannot be used: {unavailable(family)}",
            fix="pip install --upgrade diffusers; the other families work",
        )
    return getattr(diffusers, name)
