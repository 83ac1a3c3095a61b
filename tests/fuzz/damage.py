"""Damage to good files: the same number always does the same damage.

bytes        flipped, cut, doubled, zeroed, overwritten with numbers at the edges of their types, re-encoded
structure    of JSON and YAML: any value of another type, huge, NaN, nested, missing, doubled, a path that leads out
containers   zip and tar members that are links, devices, doubled, absolute or `../`; headers of safetensors and PNG
files        missing, empty, a folder, a link, a pipe in place of the file
"""

from __future__ import annotations

import os
import random
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import yaml

from tests.fuzz.damage_bytes import Damage, in_bytes
from tests.fuzz.damage_containers import in_image, in_safetensors, in_tar
from tests.fuzz.damage_texts import in_json, in_jsonl, in_yaml

NOT_OF_ITS_KIND = (
    *(ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError),
    *(yaml.YAMLError, tarfile.TarError, OSError, struct.error),
)
BY_KIND: dict[str, Callable[[bytes, random.Random], Damage]] = {
    "json": in_json,
    "jsonl": in_jsonl,
    "yaml": in_yaml,
    "image": in_image,
    "tar": in_tar,
    "safetensors": in_safetensors,
}


def damaged(content: bytes, kind: str, rng: random.Random) -> Damage:
    """One to three damages to the content of a file.

    Args:
        content: of the good file
        kind: json, jsonl, yaml, image, tar, safetensors, or anything else for bytes alone
        rng: decides
    """
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        ways = [in_bytes] if kind not in BY_KIND or rng.random() < 0.25 else [BY_KIND[kind]]
        try:
            content, what = rng.choice(ways)(content, rng)
        except NOT_OF_ITS_KIND:
            content, what = in_bytes(content, rng)
        done.append(what)
    return content, " + ".join(done)


def damage_file(path: Path, kind: str, rng: random.Random, outside: Path) -> str:
    """Damage one file in place; returns what was done. Now and then the file itself is replaced."""
    if rng.random() < 0.06:
        return _replace_file(path, rng, outside)
    content, what = damaged(path.read_bytes(), kind, rng)
    path.write_bytes(content)
    return f"{path.name}: {what}"


def _replace_file(path: Path, rng: random.Random, outside: Path) -> str:
    way = rng.choice(("missing", "empty", "folder", "pipe", "dangling link", "link to itself", "link out", "no rights"))
    content = path.read_bytes()
    if way == "no rights":
        path.chmod(0)
        return f"{path.name}: {way}"
    path.unlink()
    if way == "empty":
        path.write_bytes(b"")
    elif way == "folder":
        path.mkdir()
    elif way == "pipe":
        os.mkfifo(path)
    elif way == "dangling link":
        path.symlink_to("nothing")
    elif way == "link to itself":
        path.symlink_to(path.name)
    elif way == "link out":
        target = outside / f"by_link{path.suffix}"
        target.write_bytes(content)
        path.symlink_to(target)
    return f"{path.name}: {way}"
