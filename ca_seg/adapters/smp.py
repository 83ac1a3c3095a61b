"""Frozen backbones as encoders of segmentation_models_pytorch (SMP): importing this module registers every card.

    import ca_seg.adapters.smp
    import segmentation_models_pytorch as smp

    smp.create_model("unet", encoder_name="ca-mini", encoder_weights=None, classes=21)
    smp.create_model("dpt", encoder_name="tu-ca-mini", encoder_weights=None, decoder_readout="ignore", classes=21)

`ca-<card>` for each card, loaded when a model is built. `encoder_weights` is None: the frozen weights are the card's.
Images go in as RGB in 0..1, not normalised; `smp.encoders.get_preprocessing_params` says so for these names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from segmentation_models_pytorch import encoders as smp_encoders

from ca_seg.adapters.dpt import register_for_dpt
from ca_seg.adapters.encoder import DEEPEST, FrozenEncoder, check_shape
from ca_seg.adapters.frozen import FrozenTokens
from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.loading.card import list_backbones
from ca_seg.errors import UserError
from ca_seg.vocabulary import Vocabulary

PREFIX = "ca-"
WIDTH = 128  # channels of every map of the pyramid
NOT_NORMALISED = {"input_space": "RGB", "input_range": [0, 1], "mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def register(name: str, *, backbone: str | Backbone, vocabulary: Vocabulary | None = None, width: int = WIDTH) -> None:
    """Make `name` an encoder of SMP (and "tu-" + `name`, dots as underscores, one of its DPT).

    `backbone`: a card's name, loaded anew for each model, or a loaded Backbone (on any device, in any precision, of any
    resolution), shared by all models. With `vocabulary` the encoder reads concept-projected features, layers x phrases
    channels, and otherwise the image's attention outputs. `width`: channels of every map of the pyramid. A saved model
    keeps `name` only: register the same before loading it.

    Raises UserError for a name that SMP has for another encoder.
    """
    taken = name in smp_encoders.encoders and name not in _REGISTERED
    if taken or not name or name.startswith(("tu-", "timm-", "mit_b", "vgg")):
        raise UserError(f"SMP reads {name!r} as an encoder of its own", allowed=f"another name, as {PREFIX + name!r}")
    source = partial(_frozen, backbone, vocabulary)
    smp_encoders.encoders[name] = {
        "encoder": partial(_build, source, width),
        "pretrained_settings": {None: {}},  # what SMP names as the weights there are, when asked for others
        "params": {},
    }
    _REGISTERED.update((name, register_for_dpt(name, source)))


def _frozen(backbone: str | Backbone, vocabulary: Vocabulary | None) -> FrozenTokens:
    loaded = load_backbone(backbone) if isinstance(backbone, str) else backbone
    return FrozenTokens(loaded, vocabulary)


def _build(source: Callable[[], FrozenTokens], width: int, depth: int = DEEPEST, output_stride: int = 32) -> Any:
    check_shape(depth, output_stride)
    return FrozenEncoder(source(), width=width, depth=depth, output_stride=output_stride)


def _truthful(theirs: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """SMP reads these parameters from a file on the hub, and has no other place for them."""

    @wraps(theirs)
    def get_preprocessing_params(encoder_name: str, pretrained: str | None = "imagenet") -> dict[str, Any]:
        if encoder_name in _REGISTERED:
            return {key: list(value) if isinstance(value, list) else value for key, value in NOT_NORMALISED.items()}
        return theirs(encoder_name, pretrained=pretrained)

    return get_preprocessing_params


_REGISTERED: set[str] = set()
for _card in list_backbones():
    register(PREFIX + _card, backbone=_card)
smp_encoders.get_preprocessing_params = _truthful(smp_encoders.get_preprocessing_params)
