"""Named parts of a dataset: splits.json, which lists image names and may name nothing outside the dataset."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from ca_seg.data.classes import read_json
from ca_seg.errors import BadDataset, UnknownName


def read_split(path: Path, split: str, image_ids: Container[str]) -> list[str]:
    """The stems of one split in the order of the file, each checked to be among `stems`.

    Raises BadDataset for a missing or ill-formed file, for a name with a path in it ("../x"), for an image that is
    not there or is listed twice; UnknownName for a split that the file does not have. The whole file is checked, so
    that a mistake shows on the first use and not on the last.
    """
    if not path.is_file():
        raise BadDataset(
            f"split {split!r} was asked for, but {path} is missing",
            fix=f'add it: {{"{split}": ["stem of an image", ...]}}, or ask for no split',
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
                f"{where} names {image_id!r}, which is not in images/", fix="names stand without their ending"
            )
    if len(set(listed)) != len(listed):
        twice = next(image_id for image_id in listed if listed.count(image_id) > 1)
        raise BadDataset(f"{where} names {twice!r} twice", fix="remove one of them")
