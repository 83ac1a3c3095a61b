"""splits.json: named parts of a dataset, as lists of its images."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from ca_seg.data.classes_json import read_json
from ca_seg.errors import BadDataset, UnknownName


def read_split(path: Path, split: str, image_ids: Container[str]) -> list[str]:
    """The image_ids of one split, in the order of the file.

    All splits of the file are checked, so that a mistake shows at the first use of the file.

    Args:
        path: of splits.json
        split: the part
        image_ids: those of the dataset

    Raises:
        BadDataset: for a file that is missing or has another form, a name with a path in it ("../x"), and an image
            that is not there or is listed twice
        UnknownName: for a split that the file does not have
    """
    if not path.is_file():
        raise BadDataset(
            f"split {split!r} was asked for, but {path} is missing",
            fix=f'add it: {{"{split}": ["0001", ...]}}, or ask for no split',
        )
    content = read_json(path)
    if not isinstance(content, dict):
        raise BadDataset(f"{path} is not a table of splits", fix='an example: {"val": ["0001", "0002"]}')
    for name, listed in content.items():
        _check(f"{path}: split {name!r}", listed, image_ids)
    if split not in content:
        raise UnknownName("split", split, content, fix=f"see {path}")
    return content[split]


def _check(where: str, listed: object, image_ids: Container[str]) -> None:
    if not isinstance(listed, list) or not listed or any(not isinstance(image_id, str) for image_id in listed):
        raise BadDataset(f"{where} is not a list of image names", fix='an example: {"val": ["0001", "0002"]}')
    for image_id in listed:
        if image_id in ("", ".", "..") or any(mark in image_id for mark in "/\\\0"):
            raise BadDataset(f"{where} names {image_id!r}", allowed="names of images in images/, without a folder")
        if image_id not in image_ids:
            raise BadDataset(
                f"{where} names {image_id!r}, which is not in images/", fix="give names without their suffix"
            )
    if len(set(listed)) != len(listed):
        repeated = next(image_id for image_id in listed if listed.count(image_id) > 1)
        raise BadDataset(f"{where} names {repeated!r} twice", fix="remove one of them")
