"""The images that an evaluation shows, chosen by a rule and not by hand.

The images of a split are ranked by their own mIoU (over the classes in each, all classes offered). Shown are the best,
those in the middle of the ranking, and the worst. Equal scores are ordered by the images' names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.evaluation.run import SplitScores
from ca_seg.predictors.predictor import Predictor
from ca_seg.tasks.zero_shot import ZeroShot
from ca_seg.visual.examples import Example
from ca_seg.visual.heatmaps import heatmap_strip
from ca_seg.visual.plots import confusion_plot
from ca_seg.visual.report import GalleryItem
from ca_seg.vocabulary import IGNORE_INDEX

GALLERY = 4  # images of each kind


@dataclass(frozen=True)
class Gallery:
    """What an evaluation shows of its images.

    Args:
        sections: title and images, for the page
        examples: the best, the middle and the worst image of the first split, for one picture
    """

    sections: tuple[tuple[str, tuple[GalleryItem, ...]], ...]
    examples: tuple[Example, ...]


def best_middle_worst(ranked: Sequence[tuple[str, float]], count: int = GALLERY) -> dict[str, list[tuple[str, float]]]:
    """The rule: from a ranking, the `count` images at its top, around its middle, and at its end.

    Args:
        ranked: image ids and scores, best first
        count: images of each kind; where there are fewer, all of them

    Returns:
        "best" (best first), "middle" (best first) and "worst" (worst first). In a ranking of fewer than three times
        `count` images some are of two kinds.
    """
    start = max(0, (len(ranked) - count) // 2)
    return {
        "best": list(ranked[:count]),
        "middle": list(ranked[start : start + count]),
        "worst": list(ranked[::-1][:count]),
    }


def evaluation_gallery(
    scores: Mapping[str, SplitScores],
    data: Mapping[str, SegmentationData],
    predictor: Predictor,
    seed: int,
    device: str,
) -> Gallery:
    """The best, middle and worst images of each split, which are predicted again, and its confusion matrices."""
    sections: list[tuple[str, tuple[GalleryItem, ...]]] = []
    examples: tuple[Example, ...] = ()
    first = next(iter(scores))
    for split, scored in scores.items():
        task, ranked = scored.task, scored.task.ranked()
        ends = best_middle_worst(ranked)
        titles = {
            image_id: f"{image_id}: mIoU {100 * miou:.0f}, rank {rank} of {len(ranked)}"
            for rank, (image_id, miou) in enumerate(ranked, start=1)
        }
        chosen = dict.fromkeys(image_id for pairs in ends.values() for image_id, _ in pairs)
        shown = {i: shown_image(task, data[split], i, titles[i], predictor, seed, device) for i in chosen}
        for end, pairs in ends.items():
            items = tuple(shown[image_id].item for image_id, _ in pairs)
            rule = f"{end} {len(pairs)} of {len(ranked)} images by mIoU, all classes offered"
            sections.append((f"{split}: {rule}", items))
        plots = tuple(
            (f"{protocol}; darker: a larger fraction of the class's pixels", confusion_plot(matrix, task.classes))
            for protocol, matrix in task.matrices().items()
        )
        sections.append((f"{split}: confusion", (GalleryItem("the classes with most confused pixels", plots),)))
        if split == first:
            examples = tuple(
                replace(shown[image_id].example, title=f"{end}, {titles[image_id]}")
                for end, pairs in best_middle_worst(ranked, 1).items()
                for image_id, _ in pairs
            )
    return Gallery(tuple(sections), examples)


@dataclass(frozen=True)
class ShownImage:
    """An image with its masks, and the maps [C, h, w] of the classes in its ground truth."""

    example: Example
    present: tuple[int, ...]  # these C classes
    maps: np.ndarray
    caption: str  # of the maps

    @property
    def item(self) -> GalleryItem:
        example = self.example
        strip = heatmap_strip(example.image, self.maps, [example.names[index] for index in self.present])
        return GalleryItem(
            example.title,
            (
                ("ground truth", example.overlay(example.ground_truth)),
                ("prediction, all classes offered", example.overlay(example.prediction)),
                (self.caption, strip),
            ),
        )


def shown_image(
    task: ZeroShot,
    data: SegmentationData,
    image_id: str,
    title: str,
    predictor: Predictor,
    seed: int,
    device: str,
) -> ShownImage:
    """Predict one image of a split again, to be looked at: its mask, and the heat maps of the classes that it shows."""
    dataset = data.dataset(data.split)
    sample = dataset[dataset.image_ids.index(image_id)]
    names, mask, image = dataset.class_list.names, sample["mask"], sample["image"][None].to(device)
    ground_truth = (lambda i: mask) if predictor.needs_ground_truth else None
    prediction = predictor.predict(image, [image_seed(seed, image_id)], ground_truth)
    full = prediction.maps(task.everything)
    if task.refine is not None:
        full = task.refine(full, image, prediction.select(0))
    present = mask[mask != IGNORE_INDEX].unique().tolist()
    maps = prediction.maps(task.vocabulary(present))[0].float().cpu().numpy()
    pixels = (sample["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    guess = predict_mask(full, *mask.shape).mask[0].cpu().numpy()
    caption = "heat maps, present classes offered" + ("" if task.refine is None else ", before refinement")
    return ShownImage(Example(title, pixels, mask.numpy(), guess, names), tuple(present), maps, caption)
