"""The best, middle and worst images of an evaluation, with overlays and heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.seeds import image_seed
from ca_seg.decision.argmax import predict_mask
from ca_seg.evaluation.run import SplitScores
from ca_seg.predictors.predictor import Predictor
from ca_seg.tasks.zero_shot import ZeroShot
from ca_seg.visual.heatmaps import heatmap_strip
from ca_seg.visual.overlay import overlay
from ca_seg.visual.plots import confusion_plot
from ca_seg.visual.report import GalleryItem
from ca_seg.vocabulary import IGNORE_INDEX

GALLERY = 4  # images of each kind


def middle(ranked: Sequence[tuple[str, float]], count: int) -> list[tuple[str, float]]:
    """The `count` images around the median of a ranking."""
    start = max(0, (len(ranked) - count) // 2)
    return list(ranked[start : start + count])


def galleries(
    scores: Mapping[str, SplitScores],
    data: Mapping[str, SegmentationData],
    predictor: Predictor,
    seed: int,
    device: str,
) -> tuple[tuple[str, tuple[GalleryItem, ...]], ...]:
    """The confusion matrices of each split, and its best, middle and worst images, which are predicted again."""
    sections: list[tuple[str, tuple[GalleryItem, ...]]] = []
    for split, scored in scores.items():
        task = scored.task
        plots = tuple(
            (f"{protocol}; darker: a larger fraction of the class's pixels", confusion_plot(matrix, task.classes))
            for protocol, matrix in task.matrices().items()
        )
        sections.append((f"{split}: confusion", (GalleryItem("the classes with most confused pixels", plots),)))
        ranked = task.ranked()
        ends = {"best": ranked[:GALLERY], "middle": middle(ranked, GALLERY), "worst": ranked[::-1][:GALLERY]}
        for end, chosen in ends.items():
            items = tuple(
                _item(task, data[split], image_id, miou, predictor, seed, device) for image_id, miou in chosen
            )
            sections.append((f"{split}: {end} images", items))
    return tuple(sections)


def _item(
    task: ZeroShot, data: SegmentationData, image_id: str, miou: float, predictor: Predictor, seed: int, device: str
) -> GalleryItem:
    dataset = data.dataset(data.split)
    sample = dataset[dataset.image_ids.index(image_id)]
    names, mask = dataset.class_list.names, sample["mask"]
    present = mask[mask != IGNORE_INDEX].unique().tolist()
    prediction = predictor.predict(sample["image"][None].to(device), [image_seed(seed, image_id)])
    guess = predict_mask(prediction.maps(task.everything), *mask.shape).mask[0].cpu().numpy()
    maps = prediction.maps(task.vocabulary(present))[0].float().cpu().numpy()
    pixels = (sample["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    shown = list(dict.fromkeys([*present, *np.unique(guess).tolist()]))  # the first colours differ most
    colours = [shown.index(i) if i in shown else 0 for i in range(len(names))]
    return GalleryItem(
        f"{image_id}: mIoU {100 * miou:.0f} with all classes offered",
        (
            ("ground truth", overlay(pixels, mask.numpy(), names, colours=colours)),
            ("prediction, all classes offered", overlay(pixels, guess, names, colours=colours)),
            ("heat maps, present classes offered", heatmap_strip(pixels, maps, [names[i] for i in present])),
        ),
    )
