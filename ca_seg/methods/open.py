"""A method by name: with its real weights, or on a ready object."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ca_seg.errors import UserError
from ca_seg.methods.inputs import LinearRule, MethodInputs, Target
from ca_seg.methods.method import Method
from ca_seg.methods.registry import IN_EVALUATIONS, method_module
from ca_seg.optional import optional_imports

if TYPE_CHECKING:
    from torch import nn

    from ca_seg.backbones.backbone import Backbone


def method(
    name: str,
    *,
    model: nn.Module | None = None,
    pipeline: Any = None,
    backbone: str | Backbone | None = None,
    tokenizer: Any = None,
    device: str = "cpu",
    resolution: int | None = None,
    class_names: Sequence[str] | None = None,
    target: Target | None = None,
    start_layer: int | None = None,
    lrp_rule: LinearRule | None = None,
    weights: str | Path | None = None,
    templates: str | Sequence[str] | None = None,
    guide: nn.Module | None = None,
    prompt: str | None = None,
    captioner: str | None = None,
) -> Method:
    """Open a method of the field.

    Without a ready object its published weights are read from the Hugging Face hub. Each method takes one kind of
    object and a few of the options; its card says which, and any other is refused.

    Args:
        name: from `list_methods()`
        model: a network, such as a timm VisionTransformer
        pipeline: a diffusers pipeline
        backbone: a backbone of the zoo by name, or loaded
        tokenizer: of `model`, for methods that read words
        device: cpu, cuda, cuda:1 or mps
        resolution: pixels of the side that images are resized to; None: the method's own
        class_names: the classes of `model`, in the order of its outputs, where it is not an ImageNet-1k classifier
        target: which class the relevance in a classifier is of: the "word" that is asked (None is the same), or the
            class that it "predicted", whatever the word is
        start_layer: the first block that counts in a product over blocks; None: 0. The paper's table has 1
        lrp_rule: how a linear layer passes relevance on in LRP: as in the authors' code ("reference", None is the
            same), or so that the sum of the relevance does not change ("conserving")
        weights: a downloaded file, for methods whose published weights are on no hub (ibot)
        templates: of CLIP methods: a sentence that each phrase is put into, with one {}, or several whose vectors are
            averaged; "imagenet" for the 80 of CLIP's authors (open_clip brings them); None: "a photo of a {}"
        guide: of `proxyclip`: a transformers ViTModel beside `model`, such as DINO
        prompt: of methods that take a backbone: none, all (the words that are asked), captioner, or a text; None: as
            the method was published
        captioner: for the prompt captioner: a BLIP or Florence-2, a repository of the hub or a folder

    Returns:
        The method, with `predict` and its `card`.

    Raises:
        UserError: for an unknown name, an object or option that the method does not take, an object of another
            architecture, and weights that cannot be reached

    Example:
        >>> vit = timm.create_model("vit_base_patch16_224", pretrained=True)
        >>> maps = ca_seg.method("rollout", model=vit).predict("photo.jpg", ["cat", "background"])
    """
    if name in IN_EVALUATIONS:
        raise UserError(f"the method {name!r} needs a dataset", fix=f"compare it in an evaluation: --compare {name}")
    inputs = MethodInputs(
        model=model,
        pipeline=pipeline,
        backbone=backbone,
        tokenizer=tokenizer,
        device=device,
        resolution=resolution,
        class_names=class_names,
        target=target,
        start_layer=start_layer,
        lrp_rule=lrp_rule,
        weights=weights,
        templates=templates,
        guide=guide,
        prompt=prompt,
        captioner=captioner,
    )
    with optional_imports(f"the method {name!r}", job="method"):
        module = method_module(name)
        inputs.check(module.CARD)
        return Method(module.CARD, module.open_predictor(inputs))
