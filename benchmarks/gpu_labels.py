"""Labelling end to end for the GPU benchmark: the two pipelines of `ca-seg label`, with a random backbone.

    files ──► Lightning ──► masks, confidence maps, manifest            one process
    WebDataset shards ──► Ray Data: Read, Predict, Write ──► the same   one actor on the GPU

Starting (processes, weights) takes as long for many images as for few. So the time of an image is counted from the
moment when the masks of the first batch are on disk.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from PIL import Image

from benchmarks.random_backbone import real_backbone, tiny_backbone
from ca_seg.backbones.backbone import Backbone
from ca_seg.jobs.plain import plain
from ca_seg.jobs.trainer import INFERENCE, new_trainer, trainer_options
from ca_seg.labelling.background_writer import BackgroundWriter
from ca_seg.labelling.lightning import label_by_lightning
from ca_seg.labelling.ray import label_by_ray
from ca_seg.labelling.run import Labelling
from ca_seg.labelling.run_folder import RunFolder
from ca_seg.labelling.settings import LabelData, LabelSettings, RaySettings
from ca_seg.labelling.task import PseudoLabel, SaveLabel
from ca_seg.predictors.settings import MethodSettings
from ca_seg.thread_pool import threads_beside

SHARDS = 4


@dataclass(frozen=True)
class RandomLabelling(Labelling):
    """A labelling run whose backbone has random weights, in every process."""

    small: bool = False

    def task(self, device: str, save_label: SaveLabel) -> PseudoLabel:
        backbone = _backbone(self.model.backbone, device, self.small)
        predictor = self.model.predictor_of(backbone, None, words=[self.vocabulary])
        measure, full_size = self.confidence.measure, self.full_size
        return PseudoLabel(predictor, self.vocabulary, save_label, measure=measure, full_size=full_size, seed=self.seed)


@cache
def _backbone(name: str, device: str, small: bool) -> Backbone:
    return tiny_backbone(name, "bf16", device) if small else real_backbone(name, "bf16", device, all_blocks=False)


def seconds_per_image(
    name: str, *, ray: bool, device: str, small: bool, count: int, words: int, batch: int
) -> tuple[float, float]:
    """Seconds an image of a labelling run after its first batch, and the seconds until that batch was written.

    Args:
        name: of the card
        ray: from WebDataset shards by Ray; otherwise from files by Lightning
        device: of the backbone
        small: the tiny model of the tests
        count: of images, more than `batch`
        words: how many classes are labelled
        batch: images at a time
    """
    side = 48 if small else 1024
    with tempfile.TemporaryDirectory() as temporary:
        images, out = Path(temporary) / "in", Path(temporary) / "out"
        (_write_shards if ray else _write_files)(images, count, side)
        start = time.time()
        labelled = _label(name, images, out, ray, device, small, words, batch, side)
        written = sorted(mask.stat().st_mtime for mask in (out / "png" / "masks").rglob("*.png"))
    if labelled != count or len(written) != count:
        raise RuntimeError(f"{labelled} of {count} images were labelled")
    return (written[-1] - written[batch - 1]) / (count - batch), written[batch - 1] - start


def _label(
    name: str, images: Path, out: Path, ray: bool, device: str, small: bool, words: int, batch: int, side: int
) -> int:
    settings = LabelSettings(
        model=MethodSettings(backbone=name, resolution=side),
        data=LabelData(name="webdataset" if ray else "images", root=str(images), batch_size=batch, num_workers=0),
        ray=RaySettings(actors=int(ray), gpus=int(device != "cpu"), readers=1, writers=1),
        out=str(out),
        trainer=trainer_options(device),
    )
    labelling = RandomLabelling.of(settings, [f"word {number}" for number in range(words)])
    assert isinstance(labelling, RandomLabelling)
    labelling = replace(labelling, small=small)
    values = plain(settings)
    folder = RunFolder(out, labelling.depends_on(values))
    lock = folder.begin(labelling.about(values))
    try:
        if ray:
            return label_by_ray(labelling, folder, settings.ray, batch)[0]
        trainer = new_trainer(settings.trainer | {"enable_progress_bar": False}, **INFERENCE)
        writer = BackgroundWriter(labelling.files, threads=threads_beside(device))
        return label_by_lightning(labelling, folder, trainer, writer, settings.data)[0]
    finally:
        lock.release()


def _pictures(count: int, side: int) -> list[bytes]:
    pictures = []
    for number in range(count):
        noise = torch.randint(256, (side // 16, side // 16, 3), generator=torch.Generator().manual_seed(number))
        file = io.BytesIO()
        Image.fromarray(noise.byte().numpy()).resize((side, side)).save(file, "JPEG", quality=92)
        pictures.append(file.getvalue())
    return pictures


def _write_files(folder: Path, count: int, side: int) -> None:
    folder.mkdir(parents=True)
    for number, picture in enumerate(_pictures(count, side)):
        (folder / f"{number:05d}.jpg").write_bytes(picture)


def _write_shards(folder: Path, count: int, side: int) -> None:
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:06d}.tar", "w") as tar:
            for number, picture in enumerate(_pictures(count, side)):
                if number % SHARDS == shard:
                    member = tarfile.TarInfo(f"{number:05d}.jpg")
                    member.size = len(picture)
                    tar.addfile(member, io.BytesIO(picture))
