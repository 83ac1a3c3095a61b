"""Labels of a dataset's training images by the shipped backbone: through the command, or told each image's tags."""

from __future__ import annotations

from pathlib import Path

import torch

from ca_seg import load_backbone
from ca_seg.atomic import atomic_write
from ca_seg.backbones.images import resize_out
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.seeds import image_seed
from ca_seg.errors import UserError
from ca_seg.jobs.label import LabelSettings, label
from ca_seg.labelling.formats.png import Png
from ca_seg.labelling.label import Label
from ca_seg.labelling.settings import LabelData
from ca_seg.vocabulary import Vocabulary

BACKBONE = "mini"


def by_command(name: str, root: str | None, split: str, out: Path, threshold: float | None) -> None:
    """`ca-seg label` on a part of a dataset; all its classes are offered. Goes on where it was stopped."""
    if (out / "summary.json").exists():
        return
    settings = LabelSettings(threshold=threshold, trainer={"enable_progress_bar": False})
    results = label(LabelData(name, root, split, num_workers=2), settings=settings, out=out, device="cpu")
    if not results.complete:
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
        shown = [c for c in sample["mask"].unique().tolist() if c < len(names)]
        image = sample["image"]
        recording = backbone.record(image[None], seed=image_seed(0, image_id))
        maps = recording.ask(Vocabulary.from_names([names[c] for c in shown])).maps()
        winner = resize_out(maps, *image.shape[1:]).argmax(dim=1)[0]
        mask = torch.tensor(shown)[winner].to(torch.uint8).numpy()
        file_name = f"{image_id}{dataset.image_path(index).suffix}"
        writer.write(Label(image_id, file_name, *mask.shape, mask))
        with atomic_write(out / "images" / file_name) as part:
            part.write_bytes(dataset.image_bytes(index))
    writer.close()
