"""A segmentation as a prediction of Label Studio: brush strokes, polygons or rectangles, each with a score.

(Format: labelstud.io, "Export annotations" and "Import pre-annotated data". Coordinates are percent of the image.)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import numpy as np

from ca_seg.annotation.label_studio.config import LabelControl
from ca_seg.annotation.regions import MaskRegion, mask_regions, outlines
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.labelling.formats.brush import brush_rle


def prediction(
    segmentation: Segmentation, control: LabelControl, model_version: str, *, tolerance: float, min_area: float
) -> dict[str, Any]:
    """The prediction of one task.

    Args:
        segmentation: of the task's image, with labels of the control as classes
        control: what is drawn
        model_version: is stored with the prediction
        tolerance: of polygons, in pixels (see `outlines`)
        min_area: of polygons and rectangles, as a fraction of the image; brush strokes are exact

    Returns:
        Its results, one for each class (brush) or each connected part (polygons, rectangles). The score of a result is
        the mean confidence of its pixels, that of the prediction the mean over the image.
    """
    height, width = segmentation.mask.shape
    is_brush = control.kind == "brushlabels"
    mask_parts = mask_regions(segmentation, "class" if is_brush else "part", min_area=0.0 if is_brush else min_area)
    shapes = [(region, value) for region in mask_parts for value in _values(region, control.kind, tolerance)]
    result = [
        {
            "id": uuid4().hex[:10],  # of its own in the annotation, where an earlier answer may be too
            "type": control.kind,
            "from_name": control.name,
            "to_name": control.image,
            "image_rotation": 0,
            "original_width": width,
            "original_height": height,
            "score": region.confidence,
            "value": {**value, control.kind: [region.name]},
        }
        for region, value in shapes
    ]
    score = round(float(segmentation.confidence.mean(dtype=np.float64)), 6)
    return {"model_version": model_version, "score": score, "result": result}


def _values(region: MaskRegion, kind: str, tolerance: float) -> Iterator[dict[str, Any]]:
    height, width = region.mask.shape
    if kind == "brushlabels":
        yield {"format": "rle", "rle": brush_rle(region.mask)}
    elif kind == "rectanglelabels":
        left, top, wide, high = region.box
        yield {
            "x": 100 * left / width,
            "y": 100 * top / height,
            "width": 100 * wide / width,
            "height": 100 * high / height,
            "rotation": 0,
        }
    else:
        for ring in outlines(region.mask, tolerance):
            points = [[100 * (x + 0.5) / width, 100 * (y + 0.5) / height] for x, y in ring]  # centres of pixels
            yield {"points": points, "closed": True}
