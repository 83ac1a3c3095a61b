"""The folder of a labelling run as `ca-seg label` writes it, with the first shipped scenes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.load import load_backbone
from ca_seg.confidence.threshold import ignore_below
from ca_seg.data.catalogue import open_dataset
from ca_seg.decision.argmax import predict_mask
from ca_seg.labelling.entry import Entry
from ca_seg.labelling.label import Label
from ca_seg.labelling.manifest import Manifest
from ca_seg.labelling.registry import FORMATS
from ca_seg.labelling.run_folder import SCHEMA
from ca_seg.vocabulary import Vocabulary
from tests.confidence.numpy_measures import margin

FINGERPRINT = "0123456789abcdef" * 2


@cache
def mini() -> Backbone:
    return load_backbone("mini")


def add_label(out: Path, images: Path, label: Label, manifest: Manifest, classes: tuple[str, ...]) -> None:
    """Write one label and its manifest line; its image is in `images`."""
    outputs = FORMATS["png"].open(out / "png", classes).write(label)
    target = out / "confidence" / f"{label.key}.png"
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.round(label.confidence * 255).astype(np.uint8)).save(target)
    sha256 = hashlib.sha256((images / label.file_name).read_bytes()).hexdigest()
    manifest.add(Entry.of(label, classes, sha256=sha256, outputs=outputs, seconds=0.1))


def write_about(
    out: Path, images: Path, classes: tuple[str, ...], skipped: list[list[str]], threshold: float | None = None
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    about = {
        "schema": SCHEMA, "fingerprint": FINGERPRINT, "classes": list(classes),
        "phrases": [[name] for name in classes], "images": {"name": "images", "folder": str(images)},
        "settings": {
            "model": {"backbone": "mini"},
            "confidence": {"measure": "margin", "temperature": 1.0, "threshold": threshold},
        },
    }  # fmt: skip
    (out / "run.json").write_text(json.dumps(about), encoding="utf-8")
    entries = [{"image": image, "reason": reason} for image, reason in skipped]
    (out / "summary.json").write_text(json.dumps({"skipped": entries}), encoding="utf-8")


def example_run(folder: Path, count: int, *, names: Mapping[int, str], threshold: float = 0.0) -> Path:
    """FOLDER/images and FOLDER/run, labelled by `mini`; image `i` has the name `names[i]` if given."""
    data = open_dataset("scenes").first(count)
    classes = data.class_list.names
    vocabulary, images, out = Vocabulary.from_names(classes), folder / "images", folder / "run"
    write_about(out, images, classes, [["broken <b>.jpg", "not an image"]], threshold=threshold)
    with Manifest(out / "manifest.jsonl", FINGERPRINT) as manifest:
        for i in range(count):
            sample = data[i]
            name = names.get(i, f"{sample['image_id']}.png")
            (images / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample["path"], images / name)
            predicted = predict_mask(
                mini().record(sample["image"], seed=0).ask(vocabulary).maps(), *sample["mask"].shape
            )
            mask, scores = predicted.mask[0].numpy().astype(np.uint8), predicted.scores[0].numpy()
            confidence = margin(scores)
            labelled = ignore_below(mask, confidence, threshold)
            label = Label(name.rpartition(".")[0], name, *mask.shape, labelled, confidence=confidence)
            add_label(out, images, label, manifest, classes)
    return out
