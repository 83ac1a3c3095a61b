"""One image by several methods, as in the figures of papers: a column for each method, a row for each class.

             ground truth   method A   method B
all classes    [masks]       [masks]    [masks]
cat            [mask]        [heat]     [heat]
grass          [mask]        [heat]     [heat]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from ca_seg.visual.drawing import font, resized, shortened, wrapped
from ca_seg.visual.heatmaps import heatmap, value_range
from ca_seg.visual.overlay import overlay
from ca_seg.vocabulary import IGNORE_INDEX

TILE = 200  # pixels of a tile's long side
GAP, LINE = 8, 17  # pixels
HEAD = 110  # pixels of width of the rows' names
ROWS = 5  # classes, the largest of the ground truth
INK, DIM = (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True)
class MethodView:
    """What one method predicts for an image.

    Args:
        mask: class indices [H, W]
        maps: of the classes in the ground truth [C, h, w]
    """

    mask: np.ndarray
    maps: np.ndarray


def method_grid(
    image: np.ndarray,
    ground_truth: np.ndarray,
    present: Sequence[int],
    views: Mapping[str, MethodView],
    names: Sequence[str],
) -> Image.Image:
    """Draw an image by several methods.

    Args:
        image: uint8 [H, W, 3]
        ground_truth: class indices [H, W]; IGNORE_INDEX is void
        present: the C classes of the ground truth, in the order of the maps
        views: by the method's name
        names: of all classes

    Returns:
        The picture, in RGB. A class has one colour in all masks; the range of each heat map is printed below it.
    """
    scale = TILE / max(image.shape[:2])
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    counts = np.bincount(ground_truth[ground_truth != IGNORE_INDEX].astype(np.int64), minlength=len(names))
    shown = sorted(range(len(present)), key=lambda c: -counts[present[c]])[:ROWS]
    colours = class_colours([ground_truth, *(view.mask for view in views.values())], len(names))
    row_height = height + LINE + GAP
    columns = ["ground truth", *views]
    canvas = Image.new("RGB", (HEAD + len(columns) * (width + GAP), 2 * LINE + (1 + len(shown)) * row_height), "white")
    draw = ImageDraw.Draw(canvas)
    lefts = {name: HEAD + place * (width + GAP) for place, name in enumerate(columns)}
    for name, left in lefts.items():
        for number, line in enumerate(wrapped(name, width, font(13), lines=2)):
            draw.text((left, number * LINE), line, fill=INK, font=font(13))
    tops = [2 * LINE + row * row_height for row in range(1 + len(shown))]
    for top, name in zip(tops, ["all classes offered", *(names[present[c]] for c in shown)], strict=True):
        for number, line in enumerate(wrapped(name, HEAD - GAP, font(13), lines=3)):
            draw.text((0, top + number * LINE), line, fill=INK, font=font(13))
    masks = {"ground truth": ground_truth} | {name: view.mask for name, view in views.items()}
    for name, mask in masks.items():
        drawn = overlay(image, mask, names, colours=colours, legend=False)
        canvas.paste(drawn.resize((width, height), Image.Resampling.LANCZOS), (lefts[name], tops[0]))
        largest = shortened(_largest(mask, names), width, font(12))
        draw.text((lefts[name], tops[0] + height + 1), largest, fill=DIM, font=font(12))
    for c, top in zip(shown, tops[1:], strict=True):
        truth = resized(((ground_truth == present[c]) * np.uint8(255))[..., None].repeat(3, axis=-1), height, width)
        canvas.paste(truth, (lefts["ground truth"], top))
        for name, view in views.items():
            canvas.paste(heatmap(view.maps[c], height, width), (lefts[name], top))
            draw.text((lefts[name], top + height + 1), value_range(view.maps[c]), fill=DIM, font=font(12))
    return canvas


def class_colours(masks: Sequence[np.ndarray], classes: int) -> list[int]:
    """The number of each class in the palette: those that occur in the masks first, in the clearest colours."""
    occurring = [index for mask in masks for index in np.unique(mask).tolist() if index != IGNORE_INDEX]
    number = {index: place for place, index in enumerate(dict.fromkeys(occurring))}
    return [number.get(index, 0) for index in range(classes)]


def _largest(mask: np.ndarray, names: Sequence[str]) -> str:
    """The names of a mask's classes, largest first."""
    counts = np.bincount(mask[mask != IGNORE_INDEX].astype(np.int64), minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    return ", ".join(names[index] for index in order.tolist() if counts[index])
