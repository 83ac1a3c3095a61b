"""The backbone of a method: given by name or loaded; by default the one for photographs."""

from __future__ import annotations

from ca_seg.backbones.backbone import Backbone
from ca_seg.errors import UserError
from ca_seg.methods.inputs import MethodInputs
from ca_seg.predictors.settings import PHOTOGRAPHS, BackboneSettings


def ready_backbone(inputs: MethodInputs) -> Backbone:
    """The backbone of the inputs, on their device. Raises UserError for something else, and what loading raises."""
    backbone = inputs.backbone if inputs.backbone is not None else PHOTOGRAPHS
    if isinstance(backbone, Backbone):
        if inputs.resolution is not None:
            raise UserError("resolution is given with a loaded backbone", fix="load the backbone with it")
        return backbone.to(inputs.device)
    if not isinstance(backbone, str):
        raise UserError(f"the backbone is {type(backbone).__name__}", allowed="a name of the zoo, or a loaded backbone")
    return BackboneSettings(backbone=backbone, resolution=inputs.resolution).load(inputs.device)
