"""Labels of a dataset's training images by the shipped backbone: all classes offered, or only those of each image."""

from __future__ import annotations

from pathlib import Path

import torch

from ca_seg import load_backbone
from ca_seg.atomic import atomic_write
from ca_seg.backbones.images import resize_out
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.data.settings import DataSettings
from ca_seg.errors import UserError
from ca_seg.jobs.label import LabelSettings, label
from ca_seg.labelling.formats.png import Png
from ca_seg.labelling.label import Label
from ca_seg.vocabulary import Vocabulary

BACKBONE = "mini"


def zero_shot_labels(name: str, root: str | None, split: str, out: Path, threshold: float | None) -> None:
    """Label a part of a dataset as `ca_seg.label` does, all its classes offered. An interrupted run continues."""
    if (out / "summary.json").exists():
        return
    settings = LabelSettings(threshold=threshold, trainer={"enable_progress_bar": False})
    if label(DataSettings(name, root, split), settings=settings, out=out, device="cpu").skipped:
        raise UserError(f"some images of {name} were skipped", fix=f"see {out / 'summary.json'}")


def with_tags(name: str, root: str | None, split: str, out: Path) -> None:
    """Labels for which the backbone is offered the classes that each image shows, and no others.

    Written as the dataset "folder" reads them: images/, masks/, classes.json.
    """
    dataset, backbone = open_dataset(name, root, split), load_backbone(BACKBONE)
    names = dataset.class_list.names
    writer = Png().open(out, names)
    for index, image_id in enumerate(dataset.image_ids):
        sample = dataset[index]
        present = [c for c in sample["mask"].unique().tolist() if c < len(names)]
        image = sample["image"]
        recording = backbone.record(image[None], seed=image_seed(0, image_id))
        maps = recording.ask(Vocabulary.from_names([names[c] for c in present])).maps()
        winner = resize_out(maps, *image.shape[1:]).argmax(dim=1)[0]
        mask = torch.tensor(present)[winner].to(torch.uint8).numpy()
        file_name = f"{image_id}{dataset.image_path(index).suffix}"
        writer.write(Label(image_id, file_name, *mask.shape, mask))
        with atomic_write(out / "images" / file_name) as part:
            part.write_bytes(dataset.image_bytes(index))
    writer.close()
