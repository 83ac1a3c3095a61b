"""The pipeline of a method on a U-Net: a ready one, or published weights."""

from __future__ import annotations

from typing import Any

import torch

from ca_seg.cross_attention.families.registry import family_of
from ca_seg.errors import UserError
from ca_seg.methods.card import MethodCard
from ca_seg.methods.inputs import MethodInputs
from ca_seg.methods.weights import reading


def open_pipeline(inputs: MethodInputs, card: MethodCard, class_name: str) -> Any:
    """The pipeline that was given, where it is, or the card's weights on `inputs.device`.

    Args:
        inputs: of the method
        card: of the method
        class_name: of the pipeline in diffusers

    Raises:
        UserError: for an object of another kind
        WeightsUnavailable: for weights that cannot be reached
    """
    if inputs.pipeline is not None:
        if class_name not in family_of(inputs.pipeline).pipelines:
            raise UserError(f"{card.name} was given a {type(inputs.pipeline).__name__}", allowed=f"a {class_name}")
        return inputs.pipeline
    import diffusers  # here: it takes seconds to import

    [weights] = card.weights
    half = torch.device(inputs.device).type == "cuda"
    with reading(weights, card):
        pipeline = getattr(diffusers, class_name).from_pretrained(
            weights.repository,
            revision=weights.revision,
            torch_dtype=torch.float16 if half else torch.float32,
            use_safetensors=True,
        )
    return pipeline.to(inputs.device)
