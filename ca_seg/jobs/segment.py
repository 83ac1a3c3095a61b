"""Segment images by words: the first thing that anyone does with ca_seg. `segmenter.py` does the work for one image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.captioner import Captioner, captioner_named, check_captioner
from ca_seg.data.inputs import is_single, open_images
from ca_seg.jobs.arguments import checked_settings
from ca_seg.jobs.caption_segment import CaptionSegmenter
from ca_seg.jobs.segmenter import Segmenter, SegmentSettings, default_device
from ca_seg.jobs.words import warn_of_absent_words
from ca_seg.refine.promptable import PromptableSegmenter
from ca_seg.vocabulary import Words, is_auto


def segment(
    image: Any,
    classes: Words,
    *,
    backbone: str | Backbone | None = None,
    background: str | Sequence[str] | None = None,
    threshold: float | None = None,
    refine: str | Sequence[str] | None = None,
    sam: str | PromptableSegmenter | None = None,
    captioner: str | Captioner | None = None,
    device: str | None = None,
    settings: SegmentSettings | None = None,
) -> Any:
    """Find words in an image.

    Args:
        image: a path, a PIL image, an array [H, W, 3] (uint8) or a tensor [3, H, W] (float, 0..1); or several: a list
            of them, a folder, a glob ("photos/*.jpg"), a tensor [B, 3, H, W]
        classes: a word, a list of words, a dict of class to phrases, or a Vocabulary. One word alone is compared with
            background words. "auto": the words of each image's caption
        backbone: a name from `list_backbones()`, or a loaded backbone
        background: words for everything else; together they are one class, "background"
        threshold: 0 to 1; a pixel where no word reaches this probability becomes background
        refine: steps that sharpen the mask, such as "pamr"; "none" for none; by default those of the backbone's card
        sam: for the step "sam": weights of SAM, SAM 2 or SAM 3 (a repository of the hub or a folder), or a ready one
        captioner: for the words "auto": a BLIP or Florence-2 by name or folder, or a ready one
        device: cpu, cuda, cuda:1 or mps; by default cuda where there is one
        settings: all other options

    Returns:
        A `Segmentation`; for several images a list of them, in their order.

    Raises:
        UnreadableImage: for a file that is not a whole image
        UserError: for words, options or weights that cannot be used; its message says what is allowed

    Example:
        >>> result = ca_seg.segment("photo.jpg", ["cat", "grass", "sky"])
        >>> result.overlay().save("overlay.png")
    """
    chosen = checked_settings(settings, SegmentSettings())
    words = (background,) if isinstance(background, str) else background
    steps = (refine,) if isinstance(refine, str) else refine
    named: dict[str, Any] = {
        "backbone": backbone.card.name if isinstance(backbone, Backbone) else backbone,
        "background": None if words is None else tuple(words),
        "threshold": threshold,
        "refine": None if steps is None else tuple(steps),
        "device": device,
    }
    chosen = replace(chosen, **{name: value for name, value in named.items() if value is not None})
    images = open_images(image)  # a missing file ends it here, before the backbone is loaded
    if isinstance(sam, str):
        chosen = replace(chosen, refinement=replace(chosen.refinement, sam=sam))
    if isinstance(captioner, str):
        chosen = replace(chosen, captioner=captioner)
    loaded = backbone if isinstance(backbone, Backbone) else None
    segmenter = new_segmenter(
        classes,
        chosen,
        backbone=loaded,
        sam=None if isinstance(sam, str) else sam,
        captioner=None if isinstance(captioner, str) else captioner,
    )
    results = [segmenter(named_image) for named_image in images]
    warn_of_absent_words(segmenter.backbone.card.name, [result.image_id for result in results if not result.likely])
    return results[0] if is_single(image) else results


def new_segmenter(
    classes: Words,
    settings: SegmentSettings,
    *,
    backbone: Backbone | None = None,
    sam: PromptableSegmenter | None = None,
    captioner: Captioner | None = None,
) -> Segmenter | CaptionSegmenter:
    """What segments by these words; by those of each image's caption where the only word is "auto".

    Raises what `Segmenter` raises; UserError for "auto" without a captioner, WeightsUnavailable for a missing one.
    """
    if not is_auto(classes):
        return Segmenter(classes, settings, backbone=backbone, sam=sam)
    if captioner is None:
        check_captioner(settings.captioner)  # before a backbone is loaded
    device = default_device(settings.device)
    loaded = settings.with_preset().load(device) if backbone is None else backbone
    by_words = partial(Segmenter, settings=settings, backbone=loaded, sam=sam)
    ready = captioner or captioner_named(str(settings.captioner), device)
    return CaptionSegmenter(ready, loaded, by_words, settings.background or ())
