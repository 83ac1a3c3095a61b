"""Segment images without words: parts that look alike to the backbone, named afterwards by the words that fit them.

image ──► recording ──► token clusters ──► part maps ──► (refinement) ──► mask
                └─► maps of all words that training taught ──► names of the parts, with scores
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import Readout
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.data.inputs import NamedImage, is_single, open_images
from ca_seg.data.seeds import image_seed
from ca_seg.errors import OutOfRange, UnknownName, UserError
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.jobs.segmenter import MAX_CLASSES, default_device
from ca_seg.jobs.without_effect import refuse_without_effect
from ca_seg.predictors.pad_tokens import pad_clusters
from ca_seg.predictors.part_names import part_names, titles
from ca_seg.predictors.settings import PHOTOGRAPHS, BackboneSettings
from ca_seg.predictors.token_clusters import THRESHOLD, token_clusters
from ca_seg.refine.steps import Refinement, refinement
from ca_seg.seed_range import check_seed
from ca_seg.vocabulary import Vocabulary, check_single_words

# of zero-shot maps; parts read the attention outputs of one recording of the whole image, with an empty prompt
WITHOUT_EFFECT = (
    "space", "softmax", "concept_attention", "image_output", "normalise", "per_head", "layer_weights", "flip", "prompt",
    "captioner", "reader", "reader_options", "templates", "blur", "timestep_choice", "window", "scales",
    "template", "synonyms",
)  # fmt: skip
BY = ("outputs", "pad")
BY_WORDS = ("absence", "balance", "background")  # refinement steps that mean classes, not parts


@dataclass(frozen=True)
class PartsSettings(BackboneSettings):
    """Options of `parts`.

    Args:
        count: the number of parts; None: as many as differ by more than the threshold
        by: what makes tokens alike: outputs (their attention outputs), or pad (their attention to the padding of an
            empty prompt, as Seg4Diff reads images without words)
        threshold: a fraction of the difference of the two most different halves of the image, 0 to 1; lower: more parts
        names: the words that parts are named by; None: all that training taught, where that is known
        named: name the parts
        refine: steps that sharpen the parts, such as pamr
        refinement: the settings of these steps
        device: cpu, cuda, cuda:1 or mps; by default cuda where there is one
        seed: of the noise
    """

    backbone: str = PHOTOGRAPHS
    count: int | None = None
    by: str = "outputs"
    threshold: float = THRESHOLD
    names: tuple[str, ...] | None = None
    named: bool = True
    refine: tuple[str, ...] = ()
    refinement: Refinement = field(default_factory=Refinement)
    device: str | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class PartsSegmentation(Segmentation):
    """What `ca_seg.parts` returns for one image: a `Segmentation` whose classes are parts, the largest first.

    `confidence` is 1 inside a part and falls to 1/2 on its border. It does not say how good the name is.

    Attributes:
        words: for each part the words that fit it best, with their mean probability over the part among all words
            that were asked; empty where parts are not named
    """

    words: tuple[Mapping[str, float], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As that of `Segmentation`, with the `words` of each part."""
        content = super().as_dict()
        for name, words in zip(self.classes, self.words, strict=True):
            content["concepts"][name]["words"] = dict(words)
        return content


def parts(
    image: Any,
    count: int | None = None,
    *,
    backbone: str | Backbone | None = None,
    names: str | Sequence[str] | None = None,
    refine: str | Sequence[str] | None = None,
    device: str | None = None,
    settings: PartsSettings | None = None,
) -> Any:
    """Segment an image without words.

    Args:
        image: as for `segment`; several images give a list
        count: the number of parts; by default as many as differ clearly
        backbone: a name from `list_backbones()`, or a loaded backbone
        names: words to name the parts by; by default all that training taught the backbone, where that is known
        refine: steps that sharpen the parts, such as "pamr"
        device: cpu, cuda, cuda:1 or mps; by default cuda where there is one
        settings: all other options

    Returns:
        A `PartsSegmentation`; for several images a list of them, in their order.

    Raises:
        UnreadableImage: for a file that is not a whole image
        UserError: for options, words or weights that cannot be used

    Example:
        >>> result = ca_seg.parts("photo.jpg")
        >>> result.classes, result.words[0]
    """
    chosen = checked_settings(settings, PartsSettings())
    named: dict[str, Any] = {
        "backbone": backbone.card.name if isinstance(backbone, Backbone) else backbone,
        "count": count,
        "names": (names,) if isinstance(names, str) else names and tuple(names),
        "refine": (refine,) if isinstance(refine, str) else refine and tuple(refine),
        "device": device,
    }
    chosen = replace(chosen, **{name: value for name, value in named.items() if value is not None})
    images = open_images(image)
    parter = PartSegmenter(chosen, backbone=backbone if isinstance(backbone, Backbone) else None)
    results = [parter(named_image) for named_image in images]
    return results[0] if is_single(image) else results


class PartSegmenter:
    """A loaded backbone that parts images; call it with one image after another.

    Raises UserError for options that cannot be used, before the backbone is loaded where possible.
    """

    def __init__(self, settings: PartsSettings, *, backbone: Backbone | None = None) -> None:
        settings = settings.with_preset()
        self.settings = settings
        refuse_without_effect(settings, WITHOUT_EFFECT, "parts without words", prefix="")
        if settings.count is not None and not 1 <= settings.count <= MAX_CLASSES:
            raise OutOfRange(f"{settings.count} parts", allowed=f"1 to {MAX_CLASSES}, for masks have 8 bits")
        check_seed(settings.seed)
        if settings.by not in BY:
            raise UnknownName("way to find parts", settings.by, BY)
        if settings.by == "pad" and (settings.count is not None or settings.threshold != THRESHOLD):
            raise UserError("count or threshold is given, and parts by pad have none", fix="leave them out")
        if not 0 <= settings.threshold <= 1:
            raise OutOfRange(f"a threshold of {settings.threshold}", allowed="0 to 1")
        self.steps = replace(settings.refinement, steps=list(settings.refine) or settings.refinement.steps or [])
        for step in self.steps.steps or ():
            if step in BY_WORDS:
                raise UserError(f"the step {step} means classes", allowed="other refinement steps for parts")
        self.refine = refinement(self.steps, ())
        if settings.names is not None:
            check_single_words(settings.names)
            settings.check_words(settings.names, backbone)
        if backbone is not None:
            settings.check_loaded(backbone)
        self.backbone = settings.load(default_device(settings.device)) if backbone is None else backbone
        self.names = self._names()

    @property
    def decision(self) -> str:
        """How parts are named, in one line."""
        words = "" if self.names is None else f"named by the best of {len(self.names.classes)} words"
        return words or "parts are not named: what training taught this backbone is not known, and no names are given"

    @torch.no_grad()
    def __call__(self, image: NamedImage) -> PartsSegmentation:
        """The parts of one image."""
        tensor, settings = image.pixels[None], self.settings
        words = () if self.names is None else (self.names,)
        queries = self.steps.needs_queries
        seeds = [image_seed(settings.seed, image.image_id)]
        readout = settings.record(self.backbone, tensor, seeds, queries=queries, words=words, parts=("output",))
        if settings.by == "pad":
            tokens = pad_clusters(self.backbone, tensor, settings, seeds[0])
        else:
            tokens = self._clusters(readout)
        maps = torch.nn.functional.one_hot(tokens).movedim(-1, 0)[None].float()
        names: list[dict[str, float]] = [{} for _ in range(maps.shape[1])]
        if self.names is not None:
            word_maps = readout.maps(self.names)[0].float().cpu()
            names = part_names(word_maps, tokens, self.names.classes)
        if self.refine is not None:
            maps = self.refine(maps, tensor, readout)
        pixels = (image.pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        shown, card = titles(names), self.backbone.card
        return PartsSegmentation(
            pixels, maps, shown, None, None, image.image_id, card.name, file_name=image.file_name, words=tuple(names)
        )

    def each(self, images: Iterable[NamedImage], skipped: Callable[[UserError], None]) -> Iterator[PartsSegmentation]:
        """Image after image; why one cannot be used is handed to `skipped`, and the others go on."""
        for image in images:
            try:
                yield self(image)
            except UserError as problem:
                skipped(problem)

    def _clusters(self, readout: Readout) -> torch.Tensor:
        count, threshold = self.settings.count, self.settings.threshold
        tokens = token_clusters(readout.recording, count, threshold=threshold)
        if int(tokens.max()) >= MAX_CLASSES:
            tokens = token_clusters(readout.recording, MAX_CLASSES)
        return tokens

    def _names(self) -> Vocabulary | None:
        if not self.settings.named:
            return None
        if self.settings.names is not None:
            return Vocabulary.from_names(self.settings.names)
        text = self.backbone.text
        taught = text.taught if isinstance(text, WordTableText) else None
        return None if taught is None else Vocabulary.from_names(taught)
