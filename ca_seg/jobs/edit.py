"""Edit a photograph by words: a word's mask, and a model that paints inside it.

    photograph ──► mask of the words ──► grown ──► painted, recoloured or blanked ──► pasted into the photograph
                   (or the user's own)             (at the backbone's resolution)     (its own bytes outside)

The mask comes from the same loaded backbone that paints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace as changed
from typing import Any

import numpy as np
import torch
from PIL import Image

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.families.registry import find_family, unavailable
from ca_seg.backbones.generate import check_whole_backbone
from ca_seg.backbones.loading.card import Card
from ca_seg.backbones.text.encoder import WordTableText
from ca_seg.data.inputs import NamedImage, is_single, open_images
from ca_seg.editing.inpainting import BLENDED, paint
from ca_seg.editing.own_mask import read_own_mask
from ca_seg.editing.own_pipeline import check_pipeline, open_pipeline
from ca_seg.editing.recolor import recolored
from ca_seg.editing.region import Region, grown
from ca_seg.errors import UserError
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.edit_settings import EditSettings
from ca_seg.jobs.edited_image import EditedImage
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.jobs.segmenter import Segmenter, default_device
from ca_seg.jobs.words import warn_of_absent_words
from ca_seg.vocabulary import REST

WHITE = 255


def edit(
    image: Any,
    settings: EditSettings | None = None,
    *,
    replace: str | Sequence[str] | None = None,
    remove: str | Sequence[str] | None = None,
    keep: str | Sequence[str] | None = None,
    recolor: str | Sequence[str] | None = None,
    by: str | None = None,
    mask: Any = None,
    grow: int | None = None,
    feather: int | None = None,
    background: str | Sequence[str] | None = None,
    backbone: str | Backbone | None = None,
    pipeline: Any = None,
    device: str | None = None,
) -> EditedImage:
    """Change what words name in one photograph; everything else stays byte for byte.

    Args:
        image: a path, a PIL image, an array [H, W, 3] (uint8) or a tensor [3, H, W] (float, 0..1)
        settings: all other options
        replace: words to paint `by` over
        remove: words to paint the surroundings over: `by`, or else the background word that is most around them
        keep: words to keep; everything else is painted by `by`, or else becomes white
        recolor: words that get the colour `by`; no model paints
        by: a text; for recolor a colour
        mask: in place of the words' own: a file, a PIL image or an array [H, W] in the photograph's size; 0 is outside
        grow: pixels by which the mask grows; by default 8 for replace and remove, else 0
        feather: pixels over which the photograph fades into the edit, inside the grown mask; by default 4
        background: words that the mask is decided against (default: general ones, as in `segment`)
        backbone: a name from `list_backbones()`, or a loaded backbone with all its blocks
        pipeline: "blended" (see `BlendedLatents`), a folder with an inpainting pipeline of diffusers, or a loaded one;
            by default that of the backbone's family
        device: cpu, cuda, cuda:1 or mps; by default cuda where there is one

    Returns:
        The mask, the region, and the edited photograph.

    Raises:
        UnreadableImage: for a file that is not a whole image
        BadMask: for a mask of another size or mode
        UserError: for options that do not fit each other, unknown words, a mask without a pixel, a backbone that cannot
            generate

    Example:
        >>> result = ca_seg.edit("photo.jpg", replace="cat", by="a dog", backbone="flux1-dev")
        >>> result.image.save("dog.png")
    """
    chosen = checked_settings(settings, EditSettings())
    words = {"replace": replace, "remove": remove, "keep": keep, "recolor": recolor, "background": background}
    named: dict[str, Any] = {
        name: (value,) if isinstance(value, str) else tuple(value) for name, value in words.items() if value is not None
    }
    named |= {"by": by, "grow": grow, "feather": feather, "device": device}
    named["backbone"] = backbone.card.name if isinstance(backbone, Backbone) else backbone
    chosen = changed(chosen, **{name: value for name, value in named.items() if value is not None}).with_preset()
    if not is_single(image):
        raise UserError("several images are given", allowed="one photograph", fix="call edit for each")
    (photograph,) = open_images(image)
    mask = chosen.mask if mask is None else mask
    loaded = backbone if isinstance(backbone, Backbone) else None
    return Editor(chosen, backbone=loaded, mask=mask, pipeline=pipeline)(photograph)


class Editor:
    """The checked options of an edit; call it with the photograph. Nothing is loaded before.

    Args:
        settings: the options
        backbone: a loaded one, in place of the settings'
        mask: the user's own, see `edit`
        pipeline: a folder or a loaded pipeline, in place of the settings'

    Raises UserError as `edit` does, for everything that can be known without weights.
    """

    def __init__(
        self, settings: EditSettings, *, backbone: Backbone | None = None, mask: Any = None, pipeline: Any = None
    ) -> None:
        settings.check()
        self.settings, self.loaded, self.mask = settings, backbone, mask
        self.pipeline = settings.pipeline if pipeline is None else pipeline
        self.shares_backbone = self.pipeline in (None, BLENDED)
        if settings.paints and self.shares_backbone:
            _check_generates(settings.card(), backbone)
        elif settings.paints:
            check_pipeline(self.pipeline)
        self._check_words()

    @torch.no_grad()
    def __call__(self, image: NamedImage) -> EditedImage:
        """The edit of one photograph. Raises as `edit`."""
        settings = self.settings
        photograph = (255 * image.pixels.permute(1, 2, 0)).round().byte().numpy()
        mask = None if self.mask is None else read_own_mask(self.mask, photograph.shape[:2])
        backbone = self._load() if mask is None or settings.paints else None
        segmentation = None
        if mask is None:
            assert backbone is not None
            segmentation = self._segment(backbone, image)
            mask = segmentation.mask == 0
        name = ", ".join(settings.words)
        region = _region(mask, settings, name)
        prompt, edited = None, None
        if settings.paints:
            assert backbone is not None
            prompt = settings.by or self._surroundings(backbone, image, region)
            edited = self._paint(backbone, image, region, prompt)
        elif settings.action == "recolor" and not settings.mask_only:
            edited = recolored(photograph, region.inside, settings.rgb)
        elif not settings.mask_only:
            edited = np.full_like(photograph, WHITE)
        pasted = None if edited is None else region.paste(photograph, edited)
        return EditedImage(photograph, mask, region, pasted, name, prompt, image.image_id, segmentation)

    def _check_words(self) -> None:
        """Raises UnknownName for words that the backbone's table lacks, UserError for a prompt that is too long."""
        settings, text = self.settings, self.settings.text(self.loaded)
        if text is None:
            return
        text.table.check([*(settings.words if self.mask is None else ()), *(settings.background or ())])
        if settings.paints and settings.by and self.shares_backbone:
            text.prompt([settings.by])

    def _load(self) -> Backbone:
        device = default_device(self.settings.device)
        return self.settings.load(device, self.loaded, whole=self.settings.paints and self.shares_backbone)

    def _segment(self, backbone: Backbone, image: NamedImage) -> Segmentation:
        """Where the words are. They are one class, against background words."""
        words = {", ".join(self.settings.words): list(self.settings.words)}
        segmentation = Segmenter(words, self.settings, backbone=backbone)(image)
        if not segmentation.likely:
            warn_of_absent_words(backbone.card.name, [segmentation.image_id])
        return segmentation

    def _surroundings(self, backbone: Backbone, image: NamedImage, region: Region) -> str:
        """The background word that most tokens around the region have."""
        words = self.settings.background or _known(REST[1:], self.settings.text(backbone))
        maps = backbone.record(image.pixels[None], seed=self.settings.seed).ask(list(words)).maps()
        inside = region.in_size(*maps.shape[-2:])
        around = grown(inside, 1) & ~inside
        counts = Counter(maps[0].argmax(dim=0).cpu().numpy()[around if around.any() else inside].tolist())
        return words[counts.most_common(1)[0][0]]

    def _paint(self, backbone: Backbone, image: NamedImage, region: Region, prompt: str) -> np.ndarray:
        """The painted picture in the photograph's size, uint8 [H, W, 3]."""
        pipeline = self.pipeline
        if not self.shares_backbone:
            pipeline = open_pipeline(pipeline, str(backbone.device), backbone.dtype)
        painted = paint(backbone, image.pixels, region, self.settings.painting(prompt), pipeline)
        height, width = image.pixels.shape[-2:]
        return np.asarray(painted.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))


def _known(words: Sequence[str], text: WordTableText | None) -> Sequence[str]:
    """The words that a word table has and training taught; all of them where neither is known."""
    if text is None:
        return words
    known = [word for word in words if text.table.knows(word)]
    unseen = text.unseen(known) or {}
    return [word for word in known if word not in unseen] or known


def _region(mask: np.ndarray, settings: EditSettings, name: str) -> Region:
    """What is edited. Raises UserError where that is nothing."""
    if not mask.any():
        fix = "give other words or background words, or a mask of your own"
        raise UserError(f"no pixel of the photograph is {name}", fix=fix)
    wanted = grown(mask, settings.growth)
    region = Region(~wanted if settings.action == "keep" else wanted, settings.feather)
    if not region.inside.any():
        what = f"{name} fills the whole photograph, and all of it is kept"
        raise UserError(what, fix="give other words, or a smaller grow")
    return region


def _check_generates(card: Card, backbone: Backbone | None) -> None:
    """Raises UserError for a backbone that cannot paint, before its weights are read."""
    ways = "mask_only gives the mask alone; pipeline takes a folder with an inpainting pipeline of diffusers"
    problem, family = unavailable(card.family), find_family(card.family)
    if family.video:
        problem = f"{card.name} generates videos"
    elif not family.takes_encoded_prompts:
        problem = f"the pipeline of {card.name} takes a text and no encoded prompt"
    if problem:
        raise UserError(f"{problem}: it cannot paint in a photograph", allowed="a backbone of images", fix=ways)
    if backbone is not None:
        check_whole_backbone(backbone)
