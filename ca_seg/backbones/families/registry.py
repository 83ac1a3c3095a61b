"""The families by name. A new family is one file and one line here.

A family is imported when it is used, so that listing them needs neither torch nor diffusers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ca_seg.errors import UnknownName, UserError

if TYPE_CHECKING:
    from ca_seg.backbones.families.base import Family


@dataclass(frozen=True)
class FamilyEntry:
    """Where a family's class is, and what it needs of diffusers (a contract test compares both with the class)."""

    location: str  # module:Class, in ca_seg.backbones.families
    transformer: str  # a class of diffusers
    pipeline: str  # a class of diffusers


FAMILIES: dict[str, FamilyEntry] = {
    "flux": FamilyEntry("flux:Flux", "FluxTransformer2DModel", "FluxPipeline"),
    "flux2": FamilyEntry("flux2:Flux2", "Flux2Transformer2DModel", "Flux2Pipeline"),
    "flux2-klein": FamilyEntry("flux2:Flux2Klein", "Flux2Transformer2DModel", "Flux2KleinPipeline"),
    "sd3": FamilyEntry("sd3:StableDiffusion3", "SD3Transformer2DModel", "StableDiffusion3Pipeline"),
    "cogvideox": FamilyEntry("cogvideox:CogVideoX", "CogVideoXTransformer3DModel", "CogVideoXPipeline"),
    "qwen-image": FamilyEntry("qwen_image:QwenImage", "QwenImageTransformer2DModel", "QwenImagePipeline"),
    "chroma": FamilyEntry("chroma:Chroma", "ChromaTransformer2DModel", "ChromaPipeline"),
    "auraflow": FamilyEntry("auraflow:AuraFlow", "AuraFlowTransformer2DModel", "AuraFlowPipeline"),
    "cogview4": FamilyEntry("cogview4:CogView4", "CogView4Transformer2DModel", "CogView4Pipeline"),
    "hunyuan-video": FamilyEntry(
        "hunyuan_video:HunyuanVideo", "HunyuanVideoTransformer3DModel", "HunyuanVideoPipeline"
    ),
    "hunyuan-image": FamilyEntry(
        "hunyuan_image:HunyuanImage", "HunyuanImageTransformer2DModel", "HunyuanImagePipeline"
    ),
    "z-image": FamilyEntry("z_image:ZImage", "ZImageTransformer2DModel", "ZImagePipeline"),
    "ovis-image": FamilyEntry("ovis_image:OvisImage", "OvisImageTransformer2DModel", "OvisImagePipeline"),
    "hunyuan-video-1.5": FamilyEntry(
        "hunyuan_video15:HunyuanVideo15", "HunyuanVideo15Transformer3DModel", "HunyuanVideo15Pipeline"
    ),
    "mochi": FamilyEntry("mochi:Mochi", "MochiTransformer3DModel", "MochiPipeline"),
    "longcat-image": FamilyEntry(
        "longcat_image:LongCatImage", "LongCatImageTransformer2DModel", "LongCatImagePipeline"
    ),
    "krea2": FamilyEntry("krea2:Krea2", "Krea2Transformer2DModel", "Krea2Pipeline"),
    "lumina2": FamilyEntry("lumina2:Lumina2", "Lumina2Transformer2DModel", "Lumina2Pipeline"),
    "ernie-image": FamilyEntry("ernie_image:ErnieImage", "ErnieImageTransformer2DModel", "ErnieImagePipeline"),
}


@cache
def find_family(name: str) -> Family:
    """The family called `name`. Raises UnknownName."""
    if name not in FAMILIES:
        raise UnknownName("family", name, FAMILIES)
    module, _, class_name = FAMILIES[name].location.partition(":")
    return getattr(import_module(f"ca_seg.backbones.families.{module}"), class_name)()


def unavailable(name: str) -> str:
    """Why the installed diffusers cannot run the family `name`; "" if it can. Does not import diffusers."""
    entry = FAMILIES[name]
    missing = [needed for needed in (entry.transformer, entry.pipeline) if not is_exported(needed)]
    return f"diffusers {metadata.version('diffusers')} has no {' and no '.join(missing)}" if missing else ""


def diffusers_class(family: Family, class_name: str) -> Any:
    """A class of diffusers that `family` needs. Raises UserError if the installed diffusers does not have it."""
    if not is_exported(class_name):
        raise UserError(
            f"the family {family.name} cannot be used: {unavailable(family.name)}",
            fix="pip install --upgrade diffusers; the other families work",
        )
    return getattr(import_module("diffusers"), class_name)


def is_exported(class_name: str) -> bool:
    """Whether the installed diffusers has a class, by the list of names in its `__init__.py`."""
    return f'"{class_name}"' in _diffusers_names()


@cache
def _diffusers_names() -> str:
    location = find_spec("diffusers")
    return "" if location is None or not location.origin else Path(location.origin).read_text(encoding="utf-8")
