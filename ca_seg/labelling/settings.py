"""The options of a labelling run. Each is spelled here once; the command line is made from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ca_seg.data.catalogue import open_dataset
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.settings import DataSettings
from ca_seg.errors import OutOfRange
from ca_seg.predictors.settings import MethodSettings
from ca_seg.refine.steps import Refinement


@dataclass(frozen=True)
class LabelData(DataSettings):
    """Which images are labelled.

    Args:
        name: images (a folder or a list of your own), webdataset, coco-json, sem-seg-dicts, or a name from
            `ca-seg data list`
        root: the folder, list file or shards, for datasets that do not ship
        split: a part of the dataset; None: all of it
        batch_size: images per batch
        num_workers: processes that read images, at most one for 16 batches; 0: this one
        limit: only the first images
    """

    FOLDER: ClassVar[str] = "images"

    name: str = "images"
    num_workers: int = 2

    def open(self) -> SegmentationDataset:
        """The images of the dataset, limited; their masks are not looked at. Raises UnknownName, BadDataset."""
        dataset = open_dataset(self.name, self.root, self.split, masks=False)
        return dataset if self.limit is None else dataset.first(self.limit)


@dataclass(frozen=True)
class RaySettings:
    """Labelling on a Ray cluster (pip install 'ca-seg[ray]').

    Args:
        actors: copies of the backbone; 0: without Ray
        address: of the cluster, or auto; None: a Ray on this machine, for this run
        gpus: GPUs of each copy; 0: it runs on the CPU
        cpus: CPU cores of each copy
        readers: actors that read images
        writers: actors that encode and write
    """

    actors: int = 0
    address: str | None = None
    gpus: float = 0
    cpus: int = 1
    readers: int = 1
    writers: int = 1

    def check(self) -> None:
        """Raises OutOfRange."""
        for name, minimum in (("actors", 0), ("cpus", 1), ("readers", 1), ("writers", 1)):
            if getattr(self, name) < minimum:
                raise OutOfRange(f"ray.{name} is {getattr(self, name)}", allowed=f"{minimum} or more")
        if not 0 <= self.gpus < math.inf:
            raise OutOfRange(f"ray.gpus is {self.gpus}", allowed="0 or more")


@dataclass(frozen=True)
class LabelSettings:
    """Options of a labelling run.

    Args:
        model: the backbone, or a head trained on its features
        data: the images
        vocabulary: a YAML file of classes and their words; auto: those of captions; None: the dataset's own classes
        refine: steps between class maps and mask
        confidence: margin, entropy, max_probability, agreement or none; None: margin
        temperature: of the class probabilities; above 1 lowers the confidence; None: 1
        threshold: pixels below this confidence become 255 (ignore); one number, or one for each class
        calibration: a file that `ca-seg calibrate` wrote, in place of confidence, temperature and threshold
        formats: png, coco, coco_panoptic, yolo, detectron2, mmseg, labelme, label_studio, cvat, scores
        format_options: options by format, such as {yolo: {exclude: [background]}}
        save_confidence: write OUT/confidence/KEY.png
        writers: threads that encode and write; None: 1 to 4, by the device and its cores
        ray: label on a Ray cluster
        seed: of the noise
        out: the folder of the labels; a run that was stopped continues from what is in it
        trainer: arguments of Lightning's Trainer
    """

    model: MethodSettings = field(default_factory=MethodSettings)
    data: LabelData = field(default_factory=LabelData)
    vocabulary: str | None = None
    refine: Refinement = field(default_factory=Refinement)
    confidence: str | None = None
    temperature: float | None = None
    threshold: float | dict[str, float] | None = None
    calibration: str | None = None
    formats: list[str] = field(default_factory=lambda: ["png"])
    format_options: dict[str, Any] = field(default_factory=dict)
    save_confidence: bool = True
    writers: int | None = None
    ray: RaySettings = field(default_factory=RaySettings)
    seed: int = 0
    out: str = "out/labels"
    trainer: dict[str, Any] = field(default_factory=dict)
