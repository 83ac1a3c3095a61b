"""The two encoders of CLIP, real or ready: what is a vector of words, what is an input image.

words    "cat" ──► "a photo of a cat." ──► text encoder ──► unit vector [D]     the mean over the templates
image    [3, H, W] in 0..1 ──► normalised as in training ──► image encoder
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import normalize

from ca_seg.errors import OutOfRange, UserError
from ca_seg.methods.card import MethodCard, Weights
from ca_seg.methods.weights import reading
from ca_seg.optional import optional_imports
from ca_seg.vocabulary import check_template

if TYPE_CHECKING:
    from ca_seg.methods.inputs import MethodInputs

SINGLE = ("a photo of a {}",)
IMAGENET = "imagenet"
VIT_B_16 = Weights("openai/clip-vit-base-patch16", "MIT", "57c216476eefef5ab752ec549e440a49ae4ae5f3")
VIT_L_14 = Weights("openai/clip-vit-large-patch14", "MIT", "32bd64288804d66eefd0ccbe215aa642df71cc41")
VIT_H_14 = Weights("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "MIT", "1c2b8495b28150b8a4922ee1c8edee224c284c0c")


@dataclass(frozen=True)
class ClipEncoders:
    """A CLIP model of transformers with its tokenizer.

    Args:
        model: a CLIPModel, in evaluation mode
        tokenizer: of the model
        templates: sentences that each phrase is put into, each with one {}
    """

    model: Any
    tokenizer: Any
    templates: tuple[str, ...] = SINGLE

    @property
    def patch(self) -> int:
        """The side of a patch, in pixels."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def image_size(self) -> int:
        """The side of the images that the model was trained on, in pixels."""
        return int(self.model.config.vision_config.image_size)

    @property
    def architecture(self) -> str:
        """Of the image encoder, for results.json."""
        vision = self.model.config.vision_config
        return f"CLIP, {vision.num_hidden_layers} blocks of width {vision.hidden_size}, patches of {self.patch}"

    def check_resolution(self, resolution: int | None) -> None:
        """Raises OutOfRange for images smaller than a patch."""
        if resolution is not None and resolution < self.patch:
            raise OutOfRange(f"resolution {resolution}", allowed=f"{self.patch} (a patch) or more")

    def check_phrases(self, phrases: Sequence[str]) -> None:
        """Raises UserError for phrases that are too long for the text encoder, or not of its vocabulary."""
        for template in self.templates:
            self._token_ids([template.replace("{}", phrase) for phrase in phrases], phrases)

    def phrase_vectors(self, phrases: Sequence[str], templates: Sequence[str] | None = None) -> torch.Tensor:
        """Unit vectors of phrases: the mean over the templates of the sentences' unit vectors (Radford et al. 2021,
        section 3.1.4).

        Args:
            phrases: C texts
            templates: in place of the encoders' own

        Returns:
            [C, D]

        Raises:
            UserError: as `check_phrases`
        """
        total = torch.stack([self.sentence_vectors(phrases, t) for t in templates or self.templates]).mean(dim=0)
        return normalize(total, dim=-1)

    @torch.no_grad()
    def sentence_vectors(self, phrases: Sequence[str], template: str) -> torch.Tensor:
        """Unit vectors [C, D] of phrases in one template."""
        rows = self._token_ids([template.replace("{}", phrase) for phrase in phrases], phrases)
        longest, device = max(map(len, rows)), self.model.device
        # filled up with ends of text: the encoder is causal, and its output is that of the first one
        ids = torch.tensor([row + row[-1:] * (longest - len(row)) for row in rows], device=device)
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=device)
        pooled = self.model.text_model(input_ids=ids, attention_mask=mask).pooler_output
        return normalize(self.model.text_projection(pooled).float(), dim=-1)

    def normalised(self, images: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] in 0..1, with the mean and deviation of CLIP's training images."""
        from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        return normalised(images, OPENAI_CLIP_MEAN, OPENAI_CLIP_STD).to(self.model.device, self.model.dtype)

    def _token_ids(self, sentences: Sequence[str], phrases: Sequence[str]) -> list[list[int]]:
        text = self.model.config.text_config
        rows: list[list[int]] = self.tokenizer(list(sentences))["input_ids"]
        for row, sentence, phrase in zip(rows, sentences, phrases, strict=True):
            if len(row) > text.max_position_embeddings:
                raise UserError(
                    f"{_shortened(phrase)!r} is too long for CLIP: {len(row)} tokens in {_shortened(sentence)!r}",
                    allowed=f"{text.max_position_embeddings} tokens",
                    fix="use fewer words",
                )
            if max(row) >= text.vocab_size:
                raise UserError(
                    f"the tokenizer gives token {max(row)}, and the CLIP model has {text.vocab_size}",
                    fix="give the tokenizer of this model",
                )
        return rows


def normalised(images: torch.Tensor, mean: Sequence[float], deviation: Sequence[float]) -> torch.Tensor:
    """[B, 3, H, W] with the mean and deviation of each channel taken out."""
    centre, spread = (images.new_tensor(values).view(3, 1, 1) for values in (mean, deviation))
    return (images - centre) / spread


def _shortened(text: str, length: int = 40) -> str:
    return text if len(text) <= length else f"{text[:length]}..."


def open_encoders(inputs: MethodInputs, card: MethodCard, weights: Weights) -> ClipEncoders:
    """The ready model of `inputs`, or else `weights`.

    Raises:
        UserError: for a model that is no CLIP of transformers, one without its tokenizer, or the reverse
        OutOfRange: for a resolution that is smaller than a patch
        WeightsUnavailable: where the weights cannot be reached
        MissingExtra: for the ImageNet templates without open_clip
    """
    from transformers import AutoTokenizer, CLIPModel

    templates = resolve_templates(inputs.templates)
    model, tokenizer = inputs.model, inputs.tokenizer
    if (model is None) != (tokenizer is None):
        there, missing = ("tokenizer", "model") if model is None else ("model", "tokenizer")
        raise UserError(
            f"{card.name} is given a {there} without its {missing}", allowed="both, or the published weights"
        )
    if model is None:
        with reading(weights, card):
            model = CLIPModel.from_pretrained(weights.repository, revision=weights.revision)
            tokenizer = AutoTokenizer.from_pretrained(weights.repository, revision=weights.revision)
    if not isinstance(model, CLIPModel):
        raise UserError(
            f"the model is a {type(model).__name__}",
            allowed="a transformers CLIPModel (a vision transformer with its text encoder)",
            fix="convert open_clip weights to transformers, or load a repository that has them",
        )
    clip = ClipEncoders(model.eval().to(inputs.device), tokenizer, templates)
    clip.check_resolution(inputs.resolution)
    return clip


def resolve_templates(templates: str | Sequence[str] | None) -> tuple[str, ...]:
    """The sentences to put phrases into.

    Args:
        templates: None for "a photo of a {}"; "imagenet" for the 80 of CLIP's authors, which open_clip brings; one
            sentence, or several

    Raises:
        UserError: for no template, or one without exactly one {}
        MissingExtra: for "imagenet" without open_clip
    """
    if templates is None:
        return SINGLE
    if templates == IMAGENET:
        with optional_imports("templates='imagenet'"):
            from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES
        return tuple(template("{}") for template in OPENAI_IMAGENET_TEMPLATES)
    sentences = (templates,) if isinstance(templates, str) else tuple(templates)
    if not sentences:
        raise UserError("no template is given", allowed="'imagenet', or one or more sentences with one {}")
    for sentence in sentences:
        check_template(sentence)
    return sentences
