"""Text, JSON and YAML files that users give, with bounds on what a file may ask for.

    kind       a regular file: a pipe or a device may never end
    text       UTF-8, with or without a byte order mark
    depth      MAX_DEPTH lists and tables inside each other, and none inside itself
    YAML       MAX_YAML_BYTES; MAX_VALUES values, where each use of an alias counts as all that it stands for; no key
               twice in a table; the plain types of YAML, so that a file can name no class

Everything that is wrong is a ValueError (or the OSError of the file) with the reason in one line and without the name
of the file. The caller knows what the file is for, and makes a UserError of it.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

MAX_DEPTH = 100
MAX_VALUES = 200_000
MAX_YAML_BYTES = 4 * 2**20
TOO_DEEP = f"it is nested more than {MAX_DEPTH} deep"
# what yaml.SafeLoader raises for values such as 0x_, 2024-02-30 or !!timestamp x, besides its own errors
_YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError, OverflowError, RecursionError)


def check_regular(path: str | Path) -> None:
    """Raises OSError for a missing file, ValueError for a folder, a pipe or a device."""
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode):
        raise ValueError("it is a folder" if stat.S_ISDIR(mode) else "it is a pipe or a device, not a file")


def read_text(path: str | Path) -> str:
    """The text of a file. Raises OSError, ValueError."""
    check_regular(path)
    return Path(path).read_text(encoding="utf-8-sig")


def read_json(path: str | Path) -> Any:
    """The content of a JSON file; of a key that is given twice the last value. Raises OSError, ValueError."""
    return parse_json(read_text(path))


def parse_json(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """The content of JSON text; with `unique_keys` a key that is given twice is refused. Raises ValueError."""
    try:
        content = json.loads(text, object_pairs_hook=_unique if unique_keys else None)
    except RecursionError as problem:
        raise ValueError(TOO_DEEP) from problem
    check_depth(content)
    return content


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = next(key for index, key in enumerate(keys) if key in keys[:index])
        raise ValueError(f"the key {repeated!r} is given twice, of which JSON keeps only the last")
    return content


def check_depth(content: Any) -> None:
    """Raises ValueError for lists and tables that are nested too deep."""
    level = [content] if isinstance(content, dict | list) else []
    for _ in range(MAX_DEPTH):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ValueError(TOO_DEEP)


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file, None for an empty one. Raises OSError, ValueError."""
    check_regular(path)
    if Path(path).stat().st_size > MAX_YAML_BYTES:
        raise ValueError(f"it is larger than {MAX_YAML_BYTES // 2**20} MiB")
    return parse_yaml(read_text(path))


def parse_yaml(text: str) -> Any:
    """The content of YAML text. Raises ValueError."""
    try:
        return yaml.load(text, _Loader)
    except _YAML_ERRORS as problem:
        raise ValueError(" ".join(str(problem).split()) or type(problem).__name__) from problem


class _Loader(yaml.SafeLoader):
    """Counts values while they are composed, which is before aliases and `<<` can multiply them."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._values = 0
        self._values_of: dict[int, int] = {}  # of each composed node, by its id; nodes live as long as their document

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        is_alias, before = self.check_event(yaml.AliasEvent), self._values
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(TOO_DEEP)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._values_of:
            raise ValueError("an alias stands inside of what it stands for")
        self._values += self._values_of[id(node)] if is_alias else 1
        if self._values > MAX_VALUES:
            raise ValueError(f"it has more than {MAX_VALUES} values, those of aliases counted")
        if not is_alias:
            self._values_of[id(node)] = self._values - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                raise ValueError(f"the key {key.value!r} is given twice, line {key.start_mark.line + 1}")
            names.add(key.value)
        return super().construct_mapping(node, deep)
