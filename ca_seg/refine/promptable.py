"""Segmenters that are asked by boxes and points: SAM, SAM 2 and the tracker of SAM 3, as transformers has them.

    image ──► encoder, once ──► embeddings ─┐
    box and points of one part ─────────────┴──► decoder ──► mask logits ──► the image's size

Kirillov et al., "Segment Anything" (ICCV 2023); Ravi et al., "SAM 2" (2024); Carion et al., "SAM 3" (2025).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from ca_seg.errors import OutOfRange, UserError
from ca_seg.pretrained import Pretrained, transformers_class
from ca_seg.refine.boxes_and_points import BoxAndPoints

# by the model type in config.json; the published SAM 2 and SAM 3 weights name the type of their video models
CLASSES = {
    "sam": ("SamModel", "SamProcessor"),
    "sam2": ("Sam2Model", "Sam2Processor"),
    "sam2_video": ("Sam2Model", "Sam2Processor"),
    "sam3_tracker": ("Sam3TrackerModel", "Sam3TrackerProcessor"),
    "sam3_video": ("Sam3TrackerModel", "Sam3TrackerProcessor"),
}
MODELS = tuple(dict.fromkeys(model for model, _ in CLASSES.values()))
EXAMPLE = "facebook/sam2.1-hiera-small, or a folder with the weights"
SEGMENTERS = Pretrained(CLASSES, MODELS, "the weights {}", "no promptable segmenter", EXAMPLE)
PAD = -10  # the label of a point that is none


class PromptableSegmenter:
    """A promptable segmenter and its processor. Get one from `PromptableSegmenter.load`, or give ready ones.

    Args:
        model: a SamModel, Sam2Model or Sam3TrackerModel
        processor: of the same name

    Raises:
        UserError: for a model of another class, or a processor of another model

    Example:
        >>> sam = PromptableSegmenter.load("facebook/sam2.1-hiera-small", "cuda")
        >>> ca_seg.segment("photo.jpg", ["cat", "grass"], refine="sam", sam=sam)
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor = model, processor
        kind = type(model).__name__
        if kind not in MODELS:
            raise UserError(f"the promptable segmenter is a {kind}", allowed=", ".join(MODELS))
        expected = kind.replace("Model", "Processor")
        if type(processor).__name__ != expected:
            raise UserError(f"the processor of {kind} is a {type(processor).__name__}", allowed=f"a {expected}")
        model.requires_grad_(False).eval()

    @classmethod
    def load(cls, name: str, device: str = "cpu") -> PromptableSegmenter:
        """From a repository of the hub or a local folder.

        Raises:
            UserError: for weights of another architecture
            WeightsUnavailable: for weights that are not there, are gated, or need a newer transformers
        """
        model_class, processor_class = _classes(name)
        with SEGMENTERS.reading(name):
            model = model_class.from_pretrained(name)
            processor = processor_class.from_pretrained(name)
        return cls(model.to(device), processor)

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        device: torch.device = self.model.device
        return device

    @torch.no_grad()
    def masks(self, image: Tensor, prompts: Sequence[BoxAndPoints]) -> Iterator[Tensor]:
        """How likely each pixel belongs to the object of each prompt. The image is encoded once.

        Args:
            image: [3, H, W], 0..1
            prompts: asked one after another, so that memory does not grow with their number

        Yields:
            float32 [H, W] in 0..1 on the CPU, one for each prompt

        Raises:
            OutOfRange: for an image so long that its short side would vanish at the encoder's resolution
        """
        if not prompts:
            return
        inputs = self.inputs(image, prompts)
        embeddings = self.model.get_image_embeddings(inputs["pixel_values"].to(self.device, self.model.dtype))
        sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
        for index, prompt in enumerate(prompts):
            asked = {"input_boxes": inputs["input_boxes"][:, index : index + 1].to(self.model.dtype)}
            count = len(prompt.points)
            if count:  # without the points that fill up other prompts
                asked["input_points"] = inputs["input_points"][:, index : index + 1, :count].to(self.model.dtype)
                asked["input_labels"] = inputs["input_labels"][:, index : index + 1, :count]
            asked = {name: value.to(self.device) for name, value in asked.items()}
            output = self.model(image_embeddings=embeddings, multimask_output=False, **asked)
            logits = output.pred_masks[0].float().cpu()  # [1, 1, low, low]
            yield self.processor.post_process_masks([logits], *sizes, binarize=False)[0][0, 0].sigmoid()

    def inputs(self, image: Tensor, prompts: Sequence[BoxAndPoints]) -> Any:
        """What the model's own processor makes of an image and its prompts: both are at the encoder's resolution.

        Points that fill up the prompts to the same number have the label -10, as in transformers.
        """
        self._check_size(*image.shape[-2:])
        pixels = (image.detach().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
        longest = max(len(prompt.points) for prompt in prompts)
        options: dict[str, Any] = {"input_boxes": [[list(prompt.corners) for prompt in prompts]]}
        if longest:
            missing = [longest - len(prompt.points) for prompt in prompts]
            filled = [[*prompt.points, *[(PAD, PAD)] * n] for prompt, n in zip(prompts, missing, strict=True)]
            labels = [[*prompt.labels, *[PAD] * n] for prompt, n in zip(prompts, missing, strict=True)]
            options["input_points"] = [[[list(map(float, point)) for point in points] for points in filled]]
            options["input_labels"] = [labels]
        return self.processor(images=pixels, return_tensors="pt", **options)

    def _check_size(self, height: int, width: int) -> None:
        side = self.processor.image_processor.size.get("longest_edge")
        if side is not None and round(min(height, width) * side / max(height, width)) < 1:
            raise OutOfRange(
                f"an image of {width} x {height} pixels for {type(self.model).__name__}, which scales it to {side}",
                allowed=f"sides that differ by less than {side} to 1",
                fix="cut the image, or take SAM 2",
            )


def check_weights(name: str | None) -> None:
    """Raises what `PromptableSegmenter.load` raises for weights of another architecture; reads config.json only."""
    _classes(name)


@lru_cache(maxsize=1)
def loaded(name: str, device: str) -> PromptableSegmenter:
    """As `PromptableSegmenter.load`, once for all images of a job."""
    return PromptableSegmenter.load(name, device)


def _classes(name: str | None) -> tuple[Any, Any]:
    """The model's and the processor's class for a name or folder."""
    if name is None or not name.strip():
        raise UserError("the step sam has no weights", fix=f"name them with the option sam: {EXAMPLE}")
    model_class, processor_class = CLASSES[SEGMENTERS.model_type(name)]
    return transformers_class(model_class), transformers_class(processor_class)
