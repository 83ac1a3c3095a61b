"""Config files: YAML, one may build on another.

`base: ../base/scenes.yaml` (relative to the config) is read first, then overridden by what stands in the config.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

import yaml

from ca_seg.cli.options import present_keys
from ca_seg.errors import UserError, close_matches
from ca_seg.resources import shipped_config

CONFIG = "--config-file"


def with_configs(arguments: Sequence[str], options: Container[str]) -> list[str]:
    """The arguments with every config file replaced by its content, that of its bases before it.

    `options` are the full names of the options of the command.
    """
    result: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument.replace("_", "-").partition("=")[0] != CONFIG:
            result.append(argument)
            continue
        file = argument.partition("=")[2] or next(waiting, "")
        for part in chain(Path(file)):
            content = present_keys(read_config(part), options)
            content.pop("base", None)
            if content:
                result += [CONFIG, yaml.safe_dump(content, allow_unicode=True, sort_keys=False)]
    return result


def chain(file: Path, seen: tuple[Path, ...] = ()) -> list[Path]:
    """`file` after everything it builds on. Raises UserError for a missing or broken file, or a circle."""
    if file.resolve() in seen:
        raise UserError(f"the config {file} builds on itself", fix="remove its `base`")
    file = shipped_config(file)
    base = read_config(file).get("base")
    if base is not None and not isinstance(base, str):
        raise UserError(f"the config {file} has the base {base!r}", allowed="the path of one config file")
    before = chain(file.parent / base, (*seen, file.resolve())) if base else []
    return [*before, file]


def read_config(file: Path) -> dict:
    """The content of one file. Raises UserError, with close names for a file that is not there."""
    if not file.is_file():
        there = sorted(p.name for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        allowed = f"{', '.join(close_matches(file.name, there) or there)} in {file.parent}" if there else ""
        raise UserError(f"there is no config file {file}", allowed=allowed, fix="configs/ holds those that ship")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise UserError(f"the config {file} is not YAML: {problem}") from problem
    if not isinstance(content, dict):
        raise UserError(f"the config {file} holds no keys", allowed="key: value lines")
    return content
