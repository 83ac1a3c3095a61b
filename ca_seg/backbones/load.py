"""`load_backbone("mini")`: a frozen backbone from a name. `backbone_of(pipeline, "flux1-dev")`: from a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.card import Card, find_card
from ca_seg.backbones.loading.parts import PartReader, find_folder
from ca_seg.backbones.loading.profiles import Profile, cpu_computes_bf16, find_profile
from ca_seg.backbones.text.encoder import TextEncoder
from ca_seg.backbones.text.pipeline_text import PipelineText
from ca_seg.errors import UnknownName, UserError

OFFLOAD = ("none", "group")


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    gguf: str | Path | None = None,
    transformer: nn.Module | None = None,
    autoencoder: nn.Module | None = None,
    text: TextEncoder | None = None,
    device: str = "cpu",
    precision: str | None = None,
    offload: str = "none",
    last_layer: int | None = None,
    resolution: int | None = None,
    phrase_pooling: str | None = None,
    random_weights: bool = False,
    seed: int = 0,
) -> Backbone:
    """Load the backbone called `name`, frozen, on `device`.

    Args:
        name: a name from `list_backbones()`, such as "mini" or "flux1-dev"
        weights: a local folder in the diffusers layout (default: the weights that ship, or the card's repository)
        gguf: a GGUF file of the transformer
        transformer: a loaded transformer to use, such as a finetune
        autoencoder: a loaded autoencoder to use
        text: a text encoder to use
        device: "cpu", "cuda", "cuda:1" or "mps"
        precision: fp32, bf16, fp16, bnb-nf4, bnb-int8, ao-int8 or ao-fp8 (default: fp32 on a CPU and for weights that
            ship, so that their figures do not depend on the device; else bf16. On a CPU with AMX it is
            bf16 for a card that says that its figures hold: `bf16_on_cpu`)
        offload: "group" keeps the transformer in main memory and moves block after block to `device`; or "none"
        last_layer: blocks after it are not loaded (default: the last layer that the card's maps read; weights that
            ship are always loaded whole)
        resolution: pixels of the short side (default: the card's)
        phrase_pooling: which token of a phrase represents it: first, mean or last (default: the card's)
        random_weights: the same architecture with random weights, as a baseline
        seed: of the random weights

    Returns:
        The backbone, in eval mode, without gradients.

    Raises:
        UnknownName: for an unknown name, precision or offload, with close names
        OutOfRange: for a last layer or resolution out of range
        UserError: for a device that cannot be used, or a library that is not installed
        WeightsUnavailable: for weights that are missing, gated or not reachable
        CorruptWeights: for files that are not what the card says

    Example:
        >>> backbone = load_backbone("mini")
        >>> maps = backbone.maps(image, ["cat", "grass"])  # [1, 2, H, W]
    """
    card = find_card(name).with_resolution(resolution).with_pooling(phrase_pooling)
    if random_weights or any(part is not None for part in (weights, gguf, transformer, autoencoder, text)):
        card = card.of_other_weights()
    family = find_family(card.family)
    check_device(device)
    profile = _profile(card, precision, device)
    _check_offload(offload, device)
    folder = find_folder(
        card,
        weights,
        transformer=transformer is None,
        autoencoder=autoencoder is None,
        text=text is None,
        gguf=gguf is not None,
    )
    reader = PartReader(
        card, family, folder or Path(), profile, device, offload == "group", _keep_layers(card, last_layer)
    )
    scheduler = None if folder is None else reader.scheduler()
    if transformer is None:
        if random_weights:
            transformer = reader.random_transformer(seed)
        elif gguf is not None:
            transformer = reader.gguf_transformer(Path(gguf))
        else:
            transformer = reader.transformer()
    if autoencoder is None:
        autoencoder = reader.autoencoder()
    transformer = reader.on_device(transformer)
    if text is None:
        on_cpu = torch.device(device).type == "cpu"
        movable = not (profile.quantised or gguf is not None or offload == "group" or on_cpu)
        text = reader.text(transformer, make_room=movable)
    return Backbone(card, family, transformer, autoencoder.to(device), text, scheduler)


def backbone_of(pipeline: Any, name: str, *, resolution: int | None = None, cache: Path | None = None) -> Backbone:
    """A backbone around a loaded diffusers pipeline: a finetune, one with LoRA, quantised, offloaded.

    Args:
        pipeline: the pipeline; its text encoders are used and stay loaded
        name: the card whose settings are used (layers, timestep ...)
        resolution: pixels of the short side (default: the card's)
        cache: a folder for the embeddings of words (default: none)

    Returns:
        The backbone, which shares the pipeline's weights.

    Raises:
        UserError: if the pipeline's transformer is not of the card's family

    Example:
        >>> backbone = backbone_of(FluxPipeline.from_pretrained(...), "flux1-dev")
    """
    card = find_card(name).with_resolution(resolution)
    family = find_family(card.family)
    class_name = type(pipeline.transformer).__name__
    if class_name != family.transformer:
        raise UserError(f"{name} is a {family.transformer}, the pipeline has a {class_name}", fix="name another card")
    text = PipelineText(family, lambda: pipeline, card.text_tokens, cache=cache)
    return Backbone(card, family, pipeline.transformer, pipeline.vae, text, pipeline.scheduler)


def check_device(device: str) -> None:
    """Raises UserError for a device that cannot be used, before anything large is read."""
    if not isinstance(device, str | torch.device):
        raise UserError(f"the device is {device!r}", allowed="cpu, cuda, cuda:1, mps")
    try:
        if torch.device(device).type == "meta":
            raise UserError("the device 'meta' holds no values", allowed="cpu, cuda, cuda:1, mps")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as problem:
        reason = str(problem).splitlines()[0]
        raise UserError(
            f"the device {device!r} cannot be used ({reason})", allowed="cpu, cuda, cuda:1, mps"
        ) from problem


def _profile(card: Card, precision: str | None, device: str) -> Profile:
    if precision is None:
        on_cpu = torch.device(device).type == "cpu"
        half = card.bf16_on_cpu and cpu_computes_bf16() if on_cpu else not card.folder
        precision = "bf16" if half else "fp32"
    return find_profile(precision)


def _check_offload(offload: str, device: str) -> None:
    if offload not in OFFLOAD:
        raise UnknownName("offload", offload, OFFLOAD)
    if offload == "group" and torch.device(device).type == "cpu":
        raise UserError("offload 'group' on the device 'cpu'", allowed="an accelerator", fix="leave it out")


def _keep_layers(card: Card, last_layer: int | None) -> int | None:
    """The number of blocks to load; None: all, as for weights that ship."""
    if card.folder:
        return None
    return (max(card.layers) if last_layer is None else last_layer) + 1
