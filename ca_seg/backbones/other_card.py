"""The same backbone, read otherwise: another card over the same weights."""

from __future__ import annotations

import copy

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.loading.card import Card


def with_card(backbone: Backbone, card: Card) -> Backbone:
    """The same backbone with another card; the weights are shared."""
    if card == backbone.card:
        return backbone
    other = copy.copy(backbone)
    other.card = card
    return other


def with_resolution(backbone: Backbone, resolution: int) -> Backbone:
    """The same backbone with another resolution (pixels of the short side); the weights are shared."""
    return with_card(backbone, backbone.card.with_resolution(resolution))
