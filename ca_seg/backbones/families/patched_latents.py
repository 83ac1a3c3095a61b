"""Families whose transformer makes patches of the latents itself: SD3, AuraFlow, CogView4.

latents [B, c, p*h, p*w] --the transformer's own p x p patches--> h*w tokens
"""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.backbones.families.base import Family
from ca_seg.concept.grid import Grid


class PatchedLatents(Family):
    """`hidden_states` are the latents, unchanged."""

    def grid(self, transformer: Any, inputs: dict[str, Any]) -> Grid:
        patch = transformer.config.patch_size
        return Grid(*(side // patch for side in inputs["hidden_states"].shape[-2:]))

    def dummy_image_inputs(self, transformer: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        patch = transformer.config.patch_size
        return {"hidden_states": torch.zeros_like(inputs["hidden_states"][..., :patch, :patch])}
