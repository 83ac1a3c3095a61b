"""The classes of one pixel."""

from __future__ import annotations

from ca_seg.decision.argmax import predict_mask
from ca_seg.errors import OutOfRange
from ca_seg.jobs.segmentation import Segmentation


def classes_at(segmentation: Segmentation, x: int, y: int) -> tuple[str, list[tuple[str, float]]]:
    """The class of a pixel in the mask, and every class that has a map with its probability, the highest first.

    Args:
        segmentation: of the photograph
        x: column, 0 at the left
        y: row, 0 at the top

    Raises OutOfRange for a pixel outside the photograph.
    """
    height, width = segmentation.pixels.shape[:2]
    if not (0 <= x < width and 0 <= y < height):
        raise OutOfRange(f"the pixel {x}, {y}", allowed=f"0 to {width - 1}, 0 to {height - 1}")
    column = predict_mask(segmentation.maps, height, width).rows(y, y + 1)[0, :, 0, x].float().cpu()
    pairs = list(zip(segmentation.classes, column.tolist(), strict=False))
    winner = segmentation.classes[int(segmentation.mask[y, x])]
    return winner, sorted(pairs, key=lambda pair: -pair[1])
