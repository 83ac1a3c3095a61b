"""The same images by every method, beside each other, as in the figures of papers.

    image 7    ground truth │ method A: mask, heat maps │ method B: mask, heat maps │ ...
    image 19   ground truth │ ...

The images are spread evenly over those that the first method could score, in the split's order, so that no method's
success decides which are shown. Each method predicts them right after its scoring, while it is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ca_seg.data.datamodule import SegmentationData
from ca_seg.evaluation.gallery import ShownImage, shown_image
from ca_seg.predictors.predictor import Predictor
from ca_seg.tasks.zero_shot import ZeroShot
from ca_seg.visual.method_grid import MethodView, method_grid
from ca_seg.visual.report import GalleryItem

IMAGES = 6


class SideBySide:
    """Collects what each method predicts for a few images of one split.

    Args:
        data: of the split
        seed: of the noise
        device: where methods run
        count: how many images, or fewer where the split has fewer
    """

    def __init__(self, data: SegmentationData, seed: int, device: str, count: int = IMAGES) -> None:
        self.data, self.seed, self.device, self.count = data, seed, device, count
        self.scored = 0
        self.shown: dict[str, dict[str, ShownImage]] = {}

    def add(self, method: str, task: ZeroShot, predictor: Predictor) -> None:
        """Predict the images by one method, with the words and refinement of its scoring."""
        if not self.shown:
            scored = {image_id for image_id, _ in task.ranked()}
            ids = [image_id for image_id in self.data.dataset(self.data.split).image_ids if image_id in scored]
            self.shown, self.scored = {image_id: {} for image_id in spread(ids, self.count)}, len(ids)
        for image_id, by_method in self.shown.items():
            by_method[method] = shown_image(task, self.data, image_id, image_id, predictor, self.seed, self.device)

    def section(self) -> tuple[str, tuple[GalleryItem, ...]]:
        """Title and images, for the page."""
        title = f"methods side by side: {len(self.shown)} of {self.scored} images, spread evenly over their order"
        return title, tuple(_item(image_id, by_method) for image_id, by_method in self.shown.items())


def spread(ids: Sequence[str], count: int) -> list[str]:
    """`count` of the ids (or all, where there are fewer) at even distances, the first and the last among them."""
    places = np.linspace(0, len(ids) - 1, min(count, len(ids)))
    return [ids[place] for place in places.round().astype(int).tolist()]


def _item(image_id: str, by_method: dict[str, ShownImage]) -> GalleryItem:
    first = next(iter(by_method.values()))
    views = {method: MethodView(shown.example.prediction, shown.maps) for method, shown in by_method.items()}
    example = first.example
    grid = method_grid(example.image, example.ground_truth, first.present, views, example.names)
    return GalleryItem(image_id, (("above: masks, all classes offered; below: " + first.caption, grid),))
