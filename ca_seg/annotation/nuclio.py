"""A serverless function of CVAT on nuclio: words as masks, in the answer that CVAT's `lambda_manager` reads.

    {"image": base64, "threshold": 0.5}  ──►  [{"label": "cat", "confidence": "0.81", "type": "mask", "mask": [...],
                                                "points": [...]}, ...]

    mask      0 or 1 for each pixel of the shape's box in reading order, then left, top, right, bottom (inside the box)
    points    an outline, which CVAT takes where polygons are wanted

recipes/cvat/nuclio has the files of the function: its labels are in function.yaml, which nuclio puts beside the code.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ca_seg.annotation.regions import MaskRegion, mask_regions, outlines
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.data.inputs import NamedImage
from ca_seg.data.read import HeldFile, read_image
from ca_seg.errors import UserError
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.predictors.settings import PHOTOGRAPHS

FUNCTION = Path("/opt/nuclio/function.yaml")
BACKBONE = "CA_SEG_BACKBONE"  # environment variables
FILE = "CA_SEG_FUNCTION"
TOLERANCE = 1.0  # of outlines, in pixels


def read_phrases(path: Path) -> dict[str, Sequence[str]]:
    """The words of each label in the specification of a function.yaml.

    Raises UserError for a file that cannot be read or has no labels.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        labels = json.loads(content["metadata"]["annotations"]["spec"])
        phrases = {label["name"]: label.get("phrases", [label["name"]]) for label in labels}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as problem:
        raise UserError(f"{path} has no labels that can be read ({problem!r})") from problem
    if not phrases:
        raise UserError(f"{path} has no labels")
    return phrases


def nuclio_shapes(segmentation: Segmentation, threshold: float = 0.0) -> list[dict[str, Any]]:
    """The shapes of a segmentation, one for each part whose pixels touch.

    Args:
        segmentation: of one frame
        threshold: the lowest mean confidence of a shape that is given, 0..1
    """
    return [
        {
            "label": region.name,
            "confidence": f"{region.confidence:.6f}",
            "type": "mask",
            "mask": _flat(region),
            "points": [float(value) for ring in outlines(region.mask, TOLERANCE) for point in ring for value in point],
        }
        for region in mask_regions(segmentation, "part")
        if region.confidence >= threshold
    ]


def _flat(region: MaskRegion) -> list[int]:
    left, top, width, height = region.box
    inside = region.mask[top : top + height, left : left + width].astype(int).ravel().tolist()
    return [*inside, left, top, left + width - 1, top + height - 1]


def init_context(context: Any) -> None:
    """Load the backbone and the labels. Raises UserError, which ends the function's start."""
    phrases = read_phrases(Path(os.environ.get(FILE, FUNCTION)))
    masks = WordMasks(SegmentSettings(backbone=os.environ.get(BACKBONE, PHOTOGRAPHS)), recordings=0)
    masks.segmenter(phrases)
    context.user_data.masks, context.user_data.phrases = masks, phrases
    context.logger.info(f"ca_seg: {masks.backbone.card.name} looks for {', '.join(phrases)}")


def handler(context: Any, event: Any) -> Any:
    """The shapes in one frame; status 400 and one line where it cannot be used."""
    try:
        image, threshold = _request(event.body)
        shapes = nuclio_shapes(context.user_data.masks(image, context.user_data.phrases), threshold)
    except UserError as problem:
        context.logger.warn(str(problem))
        return context.Response(body=str(problem), headers={}, content_type="text/plain", status_code=400)
    return context.Response(body=json.dumps(shapes), headers={}, content_type="application/json", status_code=200)


def _request(body: Any) -> tuple[NamedImage, float]:
    try:
        content: Mapping[str, Any] = body if isinstance(body, Mapping) else json.loads(body)
        data = base64.b64decode(content["image"], validate=True)
        threshold = float(content.get("threshold") or 0)
    except (KeyError, TypeError, ValueError, binascii.Error) as problem:
        raise UserError(f"the request cannot be read ({problem!r})", allowed="an image in base64") from problem
    return NamedImage("image", None, lambda: read_image(HeldFile(data, "the frame"))), threshold
