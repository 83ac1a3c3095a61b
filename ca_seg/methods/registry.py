"""The methods by name. A new one is one file with `CARD` and `open_predictor`, and one line in `MODULES`.

Methods in `MODULES` are opened by `ca_seg.method`, from real weights or a ready object. Those of
`ca_seg/predictors/registry.py` exist only in an evaluation, which has the dataset.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ca_seg.errors import UnknownName
from ca_seg.methods.card import MethodCard

MODULES = {
    "concept-attention": "ca_seg.methods.concept_attention",
    "cross-attention": "ca_seg.methods.attention_readers.cross_attention",
    "seg4diff": "ca_seg.methods.attention_readers.seg4diff",
    "goca": "ca_seg.methods.attention_readers.goca",
    "tokenrank": "ca_seg.methods.attention_readers.tokenrank",
    "gramcol": "ca_seg.methods.attention_readers.gramcol",
    "vit-attention": "ca_seg.methods.vit.attention",
    "rollout": "ca_seg.methods.vit.rollout",
    "gradcam": "ca_seg.methods.vit.gradcam",
    "lrp": "ca_seg.methods.vit.lrp",
    "partial-lrp": "ca_seg.methods.vit.partial_lrp",
    "transinterp": "ca_seg.methods.vit.transinterp",
    "dino": "ca_seg.methods.vit.dino",
    "dinov2": "ca_seg.methods.vit.dinov2",
    "dinov2-reg": "ca_seg.methods.vit.dinov2_reg",
    "ibot": "ca_seg.methods.vit.ibot",
    "textspan": "ca_seg.methods.clip.textspan",
    "clip-as-rnn": "ca_seg.methods.clip.clip_as_rnn",
    "maskclip": "ca_seg.methods.clip.maskclip",
    "sclip": "ca_seg.methods.clip.sclip",
    "naclip": "ca_seg.methods.clip.naclip",
    "proxyclip": "ca_seg.methods.clip.proxyclip",
    "daam-sd2": "ca_seg.methods.unet.daam_sd2",
    "daam-sdxl": "ca_seg.methods.unet.daam_sdxl",
    "ovam-sdxl": "ca_seg.methods.unet.ovam_sdxl",
}
IN_EVALUATIONS = {
    card.name: card
    for card in (
        MethodCard("random-weights", "The evaluated backbone's architecture with random weights.", "", "check", "free"),
        MethodCard("random-maps", "Noise in place of maps.", "", "check", "free"),
        MethodCard("one-class", "The class of the dataset with most pixels, everywhere.", "", "check", "free"),
        MethodCard(
            "colour-clusters",
            "K-means on colours, labelled by the ground truth: an upper bound for colour alone.",
            "",
            "upper bound",
            "free",
        ),
    )
}


def list_methods() -> list[str]:
    """The names of all methods. Those that only an evaluation can open are the last four.

    Example:
        >>> "concept-attention" in ca_seg.list_methods()
        True
    """
    return [*MODULES, *IN_EVALUATIONS]


def find_method(name: str) -> MethodCard:
    """The card of a method. Raises UnknownName."""
    if name in IN_EVALUATIONS:
        return IN_EVALUATIONS[name]
    card: MethodCard = method_module(name).CARD
    return card


def method_module(name: str) -> ModuleType:
    """The module of a method in `MODULES`. Raises UnknownName."""
    if name not in MODULES:
        raise UnknownName("method", name, list_methods(), fix="`ca-seg methods` lists all")
    return import_module(MODULES[name])
