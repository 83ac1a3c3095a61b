"""The best, middle and worst pictures of an evaluation, with overlays and heat maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ca_seg.data.datamodule import SegmentationData
from ca_seg.data.seeds import picture_seed
from ca_seg.evaluation.run import Cell
from ca_seg.heads.zero_shot import decide
from ca_seg.tasks.zero_shot import Record
from ca_seg.visual.heatmaps import heatmap_strip
from ca_seg.visual.overlay import overlay
from ca_seg.visual.plots import confusion_plot
from ca_seg.visual.report import Shown

GALLERY = 4  # pictures of each kind


def middle(ranked: Sequence[tuple[str, float]], count: int) -> list[tuple[str, float]]:
    """Those around the median."""
    start = max(0, (len(ranked) - count) // 2)
    return list(ranked[start : start + count])


def galleries(
    cells: Mapping[str, Cell],
    data: Mapping[str, SegmentationData],
    record: Record,
    seed: int,
    device: str,
) -> tuple[tuple[str, tuple[Shown, ...]], ...]:
    """For each split its confusion matrices, and its best, middle and worst pictures, run once more."""
    made = []
    for split, cell in cells.items():
        plots = tuple(
            (f"{protocol}; darker: a larger share of the truth's pixels", confusion_plot(matrix, cell.task.classes))
            for protocol, matrix in cell.task.matrices().items()
        )
        made.append((f"{split}: confusion", (Shown("the classes with most confused pixels", plots),)))
        every = cell.task.ranked()
        ends = {"best": every[:GALLERY], "middle": middle(every, GALLERY), "worst": every[::-1][:GALLERY]}
        for end, ranked in ends.items():
            shown = tuple(_shown(cell, data[split], stem, score, record, seed, device) for stem, score in ranked)
            made.append((f"{split}: {end} pictures", shown))
    return tuple(made)


def _shown(
    cell: Cell, data: SegmentationData, stem: str, score: float, record: Record, seed: int, device: str
) -> Shown:
    dataset = data.dataset(data.split)
    sample = dataset[dataset.stems.index(stem)]
    names = dataset.class_list.names
    mask = sample["mask"]
    present = mask[mask != 255].unique().tolist()
    recorded = record(sample["image"][None].to(device), [picture_seed(seed, stem)])
    guess = decide(recorded.maps(cell.task.everything), *mask.shape).mask[0].cpu().numpy()
    maps = recorded.maps(cell.task.vocabulary(present))[0].float().cpu().numpy()
    pixels = (sample["image"].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    shown = list(dict.fromkeys([*present, *np.unique(guess).tolist()]))  # few classes: the colours that differ most
    colours = [shown.index(i) if i in shown else 0 for i in range(len(names))]
    return Shown(
        f"{stem}: mIoU {100 * score:.0f} with all classes offered",
        (
            ("truth", overlay(pixels, mask.numpy(), names, colours=colours)),
            ("prediction, all classes offered", overlay(pixels, guess, names, colours=colours)),
            ("heat maps, present classes offered", heatmap_strip(pixels, maps, [names[i] for i in present])),
        ),
    )
