"""Captions of images, by an image-to-text model of transformers: BLIP or Florence-2.

A caption gives words to look for where a user has none (`words_of_caption`). Captions are the most likely ones, not
drawn, so the same model gives the same caption.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ca_seg.errors import UserError
from ca_seg.pretrained import Pretrained, transformers_class

if TYPE_CHECKING:
    from torch import Tensor

# by the model type in config.json: the class, and the text that it is asked with
KINDS = {
    "blip": ("BlipForConditionalGeneration", None),
    "florence2": ("Florence2ForConditionalGeneration", "<DETAILED_CAPTION>"),
}
MODELS = tuple(model for model, _ in KINDS.values())
EXAMPLE = "Salesforce/blip-image-captioning-base, florence-community/Florence-2-base, or a folder with the weights"
CAPTIONERS = Pretrained(KINDS, MODELS, "the captioner {}", "no captioner that is known here", EXAMPLE)
MAX_NEW_TOKENS = 64
BEAMS = 3


class Captioner:
    """A captioning model and its processor. Get one from `Captioner.load`, or give ready ones.

    Args:
        model: a BlipForConditionalGeneration or Florence2ForConditionalGeneration
        processor: of the model: its image processor and tokenizer
        name: where the weights are from, for results

    Raises:
        UserError: for a model of another class

    Example:
        >>> captioner = Captioner.load("Salesforce/blip-image-captioning-base")
        >>> ca_seg.segment("photo.jpg", "auto", captioner=captioner)
    """

    def __init__(self, model: Any, processor: Any, name: str = "") -> None:
        kinds = {class_name: task for class_name, task in KINDS.values()}
        if type(model).__name__ not in kinds:
            raise UserError(f"the captioner is a {type(model).__name__}", allowed=", ".join(kinds))
        self.model, self.processor, self.name = model, processor, name or type(model).__name__
        self.task = kinds[type(model).__name__]
        model.requires_grad_(False).eval()

    @classmethod
    def load(cls, name: str, device: str = "cpu") -> Captioner:
        """From a repository of the hub or a local folder.

        Raises:
            UserError: for weights of another architecture
            WeightsUnavailable: for weights that are not there, are gated, or need a newer transformers
        """
        class_name, _ = KINDS[model_type(name)]
        model_class = transformers_class(class_name)
        with CAPTIONERS.reading(name):
            model = model_class.from_pretrained(name)
            processor = transformers_class("AutoProcessor").from_pretrained(name)
        return cls(model.to(device), processor, name)

    def __call__(self, image: Tensor) -> str:
        """The caption of an image [3, H, W] in 0..1. It may be empty."""
        import torch

        pixels = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        text = {} if self.task is None else {"text": self.task}
        inputs = self.processor(images=pixels, return_tensors="pt", **text).to(self.model.device, self.model.dtype)
        with torch.no_grad():
            tokens = self.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, num_beams=BEAMS, do_sample=False)
        caption: str = self.processor.batch_decode(tokens, skip_special_tokens=True)[0]
        return " ".join(caption.split())


def captions_of(name: str, images: Sequence[Tensor] | Tensor, device: str = "cpu") -> list[str]:
    """The captions of images [3, H, W] in 0..1 by the captioner of this name, which is read once per process.

    Raises what `Captioner.load` raises.
    """
    captioner = captioner_named(name, device)
    return [captioner(image) for image in images]


@lru_cache(maxsize=1)
def captioner_named(name: str, device: str) -> Captioner:
    """The captioner of a repository of the hub or a folder; the last one stays in memory."""
    return Captioner.load(name, device)


def check_captioner(name: str | None) -> None:
    """Raises UserError for no name and for weights that are no captioner, WeightsUnavailable for missing ones."""
    if name is None:
        raise no_captioner()
    model_type(name)


def no_captioner() -> UserError:
    """The error where a captioner is needed, and none is named."""
    return UserError("there is no captioner", fix=f"name one with captioner: {EXAMPLE}")


def model_type(name: str) -> str:
    """The model type of weights, a key of KINDS; only config.json is read. Raises UserError, WeightsUnavailable."""
    return CAPTIONERS.model_type(name)
