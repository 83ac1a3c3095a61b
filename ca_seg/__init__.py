"""Frozen diffusion transformers as segmentation backbones.

    import ca_seg
    backbone = ca_seg.load_backbone("mini")
    maps = backbone.maps(image, ca_seg.Vocabulary.from_names(["cat", "grass"]))          # [1, 2, H, W]

or step by step, asking one recorded image as often as one likes:

    recording = backbone.record(image)
    features = recording.ask(ca_seg.Vocabulary.from_names(["cat", "grass"]))
    features.maps(space="output")                                                        # [1, 2, h, w]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ca_seg.backbones.load import load_backbone

__version__ = "0.2.0"
__all__ = ["UserError", "Vocabulary", "__version__", "load_backbone"]


def __getattr__(name: str) -> Any:
    """`load_backbone` brings torch and diffusers along, so it is imported when it is first asked for."""
    if name == "load_backbone":
        from ca_seg.backbones.load import load_backbone

        return load_backbone
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
