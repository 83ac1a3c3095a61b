"""The heads, by name. A new head is one file and one line here."""

from __future__ import annotations

from ca_seg.heads.convex_upsampling import ConvexUpsamplingHead
from ca_seg.heads.head import Head
from ca_seg.heads.linear import LinearHead
from ca_seg.heads.zero_shot_linear import ZeroShotLinearHead

HEADS: dict[str, type[Head]] = {
    "linear": LinearHead,
    "zero-shot-linear": ZeroShotLinearHead,
    "convex-upsampling": ConvexUpsamplingHead,
}
