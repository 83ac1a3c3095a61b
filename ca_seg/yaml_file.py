"""YAML files of users, within limits: a file of a kilobyte can stand for gigabytes.

bytes       1 MB
nesting     50 levels
values      100,000, where an alias (*name) counts as all that its anchor stands for
keys        each once; YAML would take the last
aliases     none that lead in a circle
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_VALUES = 100_000
MERGE = "tag:yaml.org,2002:merge"  # <<, which construct_mapping resolves
OPENING, CLOSING = (yaml.SequenceStartEvent, yaml.MappingStartEvent), (yaml.SequenceEndEvent, yaml.MappingEndEvent)


def load_yaml(path: Path) -> Any:
    """The content of a file.

    Raises:
        OSError: for a file that cannot be read, a folder, and a pipe
        UnicodeDecodeError: for text that is not UTF-8
        yaml.YAMLError: for text that is not YAML, or beyond a limit

    Example:
        >>> load_yaml(Path("configs/base/scenes.yaml"))
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(None, "it is not a file")
    if status.st_size > MAX_BYTES:
        raise yaml.YAMLError(f"it has {status.st_size:,} bytes; allowed are {MAX_BYTES:,}")
    text = path.read_text(encoding="utf-8")
    _check_depth(text)
    loader = _UniqueKeys(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_depth(text: str) -> None:
    """Without recursion, which the rest of the parser does not have."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, OPENING) - isinstance(event, CLOSING)
        if depth > MAX_DEPTH:
            line = "" if event.start_mark is None else f", line {event.start_mark.line + 1}"
            raise yaml.YAMLError(f"it is nested more than {MAX_DEPTH} levels deep{line}")


def _check_size(root: yaml.Node) -> None:
    values: dict[int, int] = {}  # by the node's id: how many values it stands for; 0 while it is counted

    def count(node: yaml.Node) -> int:
        line = node.start_mark.line + 1
        if id(node) not in values:
            values[id(node)] = 0
            parts = node.value if isinstance(node, yaml.CollectionNode) else []
            nodes = [part for pair in parts for part in (pair if isinstance(pair, tuple) else (pair,))]
            values[id(node)] = 1 + sum(map(count, nodes))
        if values[id(node)] == 0:
            raise yaml.YAMLError(f"an alias leads in a circle, line {line}")
        if values[id(node)] > MAX_VALUES:
            raise yaml.YAMLError(f"it stands for more than {MAX_VALUES:,} values, line {line}")
        return values[id(node)]

    count(root)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == MERGE:
                continue
            key = self.construct_object(key_node, deep=True)
            try:
                if key in seen:
                    raise yaml.YAMLError(f"the key {key!r} is given twice, line {key_node.start_mark.line + 1}")
                seen.add(key)
            except TypeError as problem:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key!r} is no name, line {line}") from problem
        return super().construct_mapping(node, deep)
