"""The `ca-seg segment` line and the Python block that give the mask that the page shows."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from ca_seg.data.inputs import looks_like_image
from ca_seg.errors import UserError
from ca_seg.jobs.segmenter import SegmentSettings
from ca_seg.refine.steps import Refinement

GROUP = "refinement"  # the one option that is a group of options


def changed_options(settings: SegmentSettings | Refinement) -> dict[str, Any]:
    """The options that differ from the defaults, in the order of the settings."""
    default = type(settings)()
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def command_line(place: str, words: Sequence[str], settings: SegmentSettings) -> str:
    """One line for a shell.

    Args:
        place: the path of the photograph
        words: that are asked
        settings: of `segment`

    Raises UserError for a word that the command would take for a file.
    """
    files = [word for word in words if looks_like_image(word)]
    if files:
        raise UserError(f"the command takes {files[0]!r} for a file", fix="use the Python block")
    options = changed_options(settings)
    steps = changed_options(options.pop(GROUP)) if GROUP in options else {}
    options |= {f"{GROUP}.{name}" if hasattr(settings, name) else name: value for name, value in steps.items()}
    parts = ["ca-seg", "segment", place if not place.startswith("-") else f"./{place}", "--concepts", *_listed(words)]
    for name, value in options.items():
        parts += [f"--{name.replace('_', '-')}", *_written(value)]
    return shlex.join(parts)


def python_block(place: str, words: Sequence[str], settings: SegmentSettings) -> str:
    """A few lines of Python."""
    options = ", ".join(f"{name}={_as_python(value)}" for name, value in changed_options(settings).items())
    lines = ["import ca_seg", ""]
    named = f"{place!r}, {list(words)!r}"
    if options:
        lines += [f"settings = ca_seg.SegmentSettings({options})"]
        named += ", settings=settings"
    return "\n".join([*lines, f"result = ca_seg.segment({named})", "result.mask"])


def _as_python(value: Any) -> str:
    if not isinstance(value, Refinement):
        return repr(value)
    return f"ca_seg.Refinement({', '.join(f'{name}={one!r}' for name, one in changed_options(value).items())})"


def _listed(values: Sequence[Any]) -> list[str]:
    """A list without brackets, or as JSON where a value could be taken for something else."""
    texts = [str(value) for value in values]
    strange = any(isinstance(v, str) and (not v[:1].isalpha() or v == "null") for v in values)
    return [json.dumps(list(values), ensure_ascii=False)] if strange or not texts else texts


def _written(value: Any) -> list[str]:
    if isinstance(value, bool):
        return [str(value).lower()]
    if isinstance(value, tuple | list):
        return _listed(value)
    if isinstance(value, dict):
        return [json.dumps(value, ensure_ascii=False)]
    return [str(value)]
