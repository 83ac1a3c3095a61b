"""Config files: YAML, one may build on another.

`base: ../base/scenes.yaml` (relative to the config) is read first, then overridden by the config itself. Options may be
written in all ways of the command line (see `ca_seg.cli.options`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ca_seg.bounded_files import read_yaml
from ca_seg.cli.kinds import is_list, is_table
from ca_seg.cli.options import Dialect
from ca_seg.errors import UserError, close_matches
from ca_seg.resources import shipped_config

CONFIG = "--config-file"


def with_configs(arguments: Sequence[str], dialect: Dialect) -> list[str]:
    """The arguments with every config file replaced by its content, that of its bases before it."""
    result: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument.partition("=")[0] != CONFIG:
            result.append(argument)
            continue
        file = argument.partition("=")[2] or next(waiting, "")
        for part, content in chain(Path(file)):
            options = present_options(content, dialect, part)
            if options:
                result += [CONFIG, yaml.safe_dump(options, allow_unicode=True, sort_keys=False)]
    return result


def chain(file: Path, seen: tuple[str, ...] = ()) -> list[tuple[Path, dict[str, Any]]]:
    """`file` after everything it builds on, each with its content but `base`.

    Raises UserError for a missing or broken file, or a circle.
    """
    if os.path.realpath(file) in seen:
        raise UserError(f"the config {file} builds on itself", fix="remove its `base`")
    file = shipped_config(file)
    content = read_config(file)
    base = content.pop("base", None)
    if base is not None and not isinstance(base, str):
        raise UserError(f"the config {file} has the base {base!r}", allowed="the path of one config file")
    before = chain(file.parent / base, (*seen, os.path.realpath(file))) if base else []
    return [*before, (file, content)]


def read_config(file: Path) -> dict:
    """The content of one file. Raises UserError, with close names for a file that is not there."""
    if not file.is_file():
        folder = file if file.is_dir() else file.parent
        names = sorted(path.name for path in folder.glob("*.yaml")) if folder.is_dir() else []
        allowed = ", ".join(str(folder / name) for name in close_matches(file.name, names) or names[:10])
        what = f"the config {file} is a folder" if file.is_dir() else f"there is no config file {file}"
        raise UserError(what, allowed=allowed, fix="the folder configs/ has those that ship")
    try:
        content = read_yaml(file) or {}
    except (OSError, ValueError) as problem:
        raise UserError(f"the config {file} is not YAML: {problem}") from problem
    if not isinstance(content, dict):
        raise UserError(f"the config {file} holds no keys", allowed="key: value lines")
    _refuse_classes(content, file)
    return content


def _refuse_classes(content: Any, file: Path) -> None:
    """Raises UserError for a `class_path`. jsonargparse would import its module, and so run what is in it."""
    if isinstance(content, Mapping) and "class_path" in content:
        raise UserError(f"the config {file} names the class {content['class_path']!r:.60}", allowed="options by name")
    for part in content.values() if isinstance(content, Mapping) else content if isinstance(content, list) else ():
        _refuse_classes(part, file)


def present_options(content: Mapping[str, Any], dialect: Dialect, file: Path) -> dict[str, Any]:
    """The content of a config file with the full, present names of a command's options.

    Raises UserError for an option that the command does not have, and a value where a group of options is expected.
    """
    result: dict[str, Any] = {}
    for name, value in _options(content, dialect, file):
        *groups, last = name.split(".")
        part = result
        for group in groups:
            part = part.setdefault(group, {})
        part[last] = value
    return result


def _options(content: Mapping[str, Any], dialect: Dialect, file: Path, above: str = "") -> Iterator[tuple[str, Any]]:
    """Each option with its full name."""
    for key, value in content.items():
        written = f"{above}{key}"
        name, negated = dialect.full_name(written)
        if isinstance(value, Mapping) and not is_table(dialect.options.get(name)):
            yield from _options(value, dialect, file, f"{written}.")
        elif name in dialect.groups and value is None:
            continue  # `model:` with nothing below it
        elif name == "trainer":
            if not isinstance(value, Mapping | None):
                raise UserError(f"{name} is {value!r} in {file}", allowed="arguments of Lightning's Trainer by name")
            yield from ((f"trainer.{option}", content) for option, content in (value or {}).items())
        else:
            options = dialect.assigned(name, value)
            for option, setting in options:
                _check(option, written, value, negated, dialect, file)
                kind = dialect.options.get(option)
                alone = isinstance(setting, str | int | float) and not str(setting).startswith("[")
                yield option, [setting] if kind is not None and is_list(kind) and alone else setting


def _check(option: str, written: str, value: Any, negated: bool, dialect: Dialect, file: Path) -> None:
    """Raises UserError for a name that is no option of the command."""
    if option in dialect.groups:
        names = [name for name in dialect.options if name.startswith(f"{option}.")]
        allowed = f"{', '.join(names[:3])} ..., each with its value"
        raise UserError(f"{option} is {value!r} in {file}", allowed=allowed)
    if negated or not (option in dialect.options or option.startswith("trainer.")):
        near = close_matches(written, [*dialect.options, *dialect.short])
        allowed = f"did you mean {' or '.join(near)}?" if near else ""
        raise UserError(f"unknown option {written!r} in {file}", allowed=allowed, fix="--help lists all options")
