"""The labels of `ca-seg label` as a dataset of FiftyOne: masks, confidence maps and classes beside the images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ca_seg.errors import UserError
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.run_reader import LabelRun
from ca_seg.optional import optional_imports
from ca_seg.vocabulary import IGNORE_INDEX

with optional_imports("a dataset of FiftyOne"):
    import fiftyone as fo


def load_labels(
    run_folder: str | Path, name: str | None = None, *, images: str | Path | None = None, field: str = "ca_seg"
) -> fo.Dataset:
    """A FiftyOne dataset of a labelling run.

        FIELD                Segmentation: class index + 1; 0 where a pixel was ignored (FiftyOne does not draw 0)
        FIELD_confidence     Heatmap: the confidence map, where the run has one
        FIELD_classes        Classifications: the classes that have a pixel, each with its mean confidence
        FIELD_mean           the mean confidence of the image, to sort by
        FIELD_presence       how likely the most present word is in the image, where it was measured

    Args:
        run_folder: what `label` wrote, with the format png
        name: of the dataset; None: FiftyOne's own choice
        images: the folder of the images, if they were moved
        field: the name of the masks' field

    Returns:
        The dataset, with `mask_targets` for the field. It is not persistent; set `dataset.persistent` to keep it.

    Raises:
        UserError: for a folder that is not a labelling run, one without masks, and a name that is taken
        BadMask: for a mask that does not fit its image
    """
    run = LabelRun.open(Path(run_folder), None if images is None else Path(images))
    entries = _last_of_each(run)
    if not entries:
        raise UserError(f"{run.folder} has no labelled image yet")
    missing = next((entry for entry in entries if not run.mask_path(entry).is_file()), None)
    if missing is not None:
        raise UserError(f"{run.mask_path(missing)} is missing", fix="label with the format png: --formats png")
    if name is not None and fo.dataset_exists(name):
        raise UserError(f"FiftyOne has a dataset {name!r}", fix="give another name, or delete it")
    dataset = fo.Dataset(name)
    dataset.mask_targets = {field: {index + 1: cls for index, cls in enumerate(run.classes)}}
    dataset.info = {"ca_seg": {"run": str(run.folder.resolve()), "fingerprint": run.fingerprint}}
    dataset.save()
    try:
        dataset.add_samples(_samples(run, entries, field), num_samples=len(entries))
    except UserError:
        dataset.delete()  # half a dataset would look like a whole one
        raise
    return dataset


def _last_of_each(run: LabelRun) -> list[Entry]:
    """Before a run has ended, an image that changed has several entries."""
    return list({entry.key: entry for entry in run.entries()}.values())


def _samples(run: LabelRun, entries: list[Entry], field: str) -> Iterator[fo.Sample]:
    numbers = np.arange(1, 257) % 256  # class index + 1
    numbers[IGNORE_INDEX] = 0
    table = numbers.astype(np.uint8)
    for entry in entries:
        sample = fo.Sample(filepath=str(run.image_path(entry).resolve()))
        sample[field] = fo.Segmentation(mask=table[run.mask(entry)])
        if run.confidence_path(entry).is_file():
            path = str(run.confidence_path(entry).resolve())
            sample[f"{field}_confidence"] = fo.Heatmap(map_path=path, range=[0, 255])
        sample[f"{field}_classes"] = fo.Classifications(
            classifications=[fo.Classification(label=cls, confidence=entry.confidence.get(cls)) for cls in entry.area]
        )
        if entry.confidence:
            total = sum(entry.area.values())
            sample[f"{field}_mean"] = sum(entry.confidence[cls] * area for cls, area in entry.area.items()) / total
        if entry.presence is not None:
            sample[f"{field}_presence"] = entry.presence
        yield sample
