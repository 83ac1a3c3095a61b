"""The captions of a dataset's images, made once and kept beside the labels: OUT/captions.jsonl.

    {"key": "a/0001", "sha256": "...", "captioner": "NAME", "caption": "two cats on a sofa"}

An image whose file or captioner is another has a new line. A run that was stopped goes on after the last whole line.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from ca_seg.bounded_files import check_regular, parse_json
from ca_seg.captioner import captioner_named
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.read import HeldFile, read_image
from ca_seg.errors import UnreadableImage, UserError
from ca_seg.folder_lock import lock_folder

FILE = "captions.jsonl"
Image = tuple[str, str]  # its key, and the SHA-256 of its file


def dataset_captions(dataset: SegmentationDataset, captioner: str, device: str, folder: Path) -> dict[str, str]:
    """The caption of each image by its key; an image that cannot be read has none.

    Args:
        dataset: the images
        captioner: a repository of the hub or a folder
        device: where it runs
        folder: of the file of captions

    Raises:
        WeightsUnavailable: for a captioner that cannot be read
        UserError: while another run writes the file, and where it cannot be read or written
    """
    known = dict(_read(folder / FILE, captioner))
    captions: dict[str, str] = {}
    with ExitStack() as lock:
        locked = False
        for index, key in enumerate(dataset.image_ids):
            try:
                content = dataset.image_bytes(index)
                image = (key, hashlib.sha256(content).hexdigest())
                pixels = None if image in known else read_image(HeldFile(content, dataset.image_path(index)))
            except UnreadableImage:
                continue  # the labelling itself says why this image has no label
            if pixels is not None:
                if not locked:
                    lock.callback(lock_folder(folder, "captioning into").release)
                    locked = True
                known[image] = captioner_named(captioner, device)(pixels)
                _append(folder / FILE, image, captioner, known[image])
            captions[key] = known[image]
    return captions


def _append(file: Path, image: Image, captioner: str, caption: str) -> None:
    """Add a line, behind a line break where a stopped run left a part of one."""
    line = {"key": image[0], "sha256": image[1], "captioner": captioner, "caption": caption}
    try:
        with file.open("ab+") as opened:
            if opened.tell() > 0:
                opened.seek(-1, os.SEEK_END)
            partial = opened.read(1) not in (b"", b"\n")
            opened.write(b"\n" * partial + json.dumps(line).encode("ascii") + b"\n")
    except OSError as problem:
        raise UserError(f"{file} cannot be written ({problem.strerror or problem})", fix="free room") from problem


def _read(file: Path, captioner: str) -> Iterator[tuple[Image, str]]:
    """The captions by this captioner; lines that are broken are left out, and their images captioned again."""
    if not file.exists():
        return
    try:
        check_regular(file)
        lines = file.read_bytes().splitlines()
    except (OSError, ValueError) as problem:
        raise UserError(f"{file} cannot be read ({problem})", fix="remove it, or give another out") from problem
    for line in lines:
        try:
            content = parse_json(line)
            parts = [content[name] for name in ("key", "sha256", "captioner", "caption")]
        except (ValueError, KeyError, TypeError):
            continue
        if all(isinstance(part, str) for part in parts) and parts[2] == captioner:
            yield (parts[0], parts[1]), parts[3]
