"""Seg4Diff (Kim et al., NeurIPS 2025, arXiv 2509.18096): how much the image attends to the words of its prompt.

    softmax over [prompt, image] of every image token's attention ──► columns of a phrase's tokens ──► mean over tokens
                                                                                               and heads ──► argmax

The paper reads one layer, its "semantic grounding expert": layer 9 of 24 of SD3-medium, at noise step 8 of 28, 1024
pixels, with the true classes of the picture in the prompt. Here the layers are those of the readout; several are
averaged. The maps of phrases that are not in the prompt are 0.
"""

from __future__ import annotations

import torch

from ca_seg.concept.features import ConceptFeatures
from ca_seg.concept.readers.scores import class_shares


def seg4diff(features: ConceptFeatures) -> torch.Tensor:
    """Class maps [B, K, h, w]: the share of each class in an image token's attention to the words."""
    assert features.prompt is not None
    layers = [features.prompt.words[layer].mean(dim=1) for layer in features.layers]
    attention = torch.stack(layers).mean(dim=0)
    return class_shares(features, features.prompt.of_phrases(attention, features.vocabulary.concepts))
