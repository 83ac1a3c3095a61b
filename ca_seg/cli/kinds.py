"""The type of every option of a settings class: what the command line has to know of it, and how it is said."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}
ITEMS = {int: "whole numbers", float: "numbers", str: "words"}


def options_of(settings: type, prefix: str = "") -> dict[str, Any]:
    """The type of every option of a settings dataclass, nested ones joined by dots; `dict` fields count as one."""
    options: dict[str, Any] = {}
    hints = get_type_hints(settings)
    for field in fields(settings):
        kind = hints[field.name]
        if isinstance(kind, type) and is_dataclass(kind):
            options |= options_of(kind, f"{prefix}{field.name}.")
        else:
            options[prefix + field.name] = kind
    return options


def is_list(kind: Any) -> bool:
    """Whether an option takes several values: list[str], tuple[int, ...], or one of them or None."""
    return any(get_origin(part) in (list, tuple) for part in _parts(kind))


def holds_numbers(kind: Any) -> bool:
    """Whether a list's items are numbers."""
    items = [item for part in _parts(kind) for item in get_args(part)]
    return any(item in (int, float) for item in items)


def is_table(kind: Any) -> bool:
    """Whether an option takes names with values: dict[str, str]."""
    return any(get_origin(part) is dict for part in _parts(kind))


def holds_lists(kind: Any) -> bool:
    """Whether the values of a table are lists: dict[str, list[str]]."""
    return any(get_origin(part) is dict and get_origin(get_args(part)[1]) is list for part in _parts(kind))


def is_bool(kind: Any) -> bool:
    return bool in _parts(kind)


def describe(kind: Any) -> str:
    """What an option of this type takes, for a message: "a whole number, or null"."""
    parts = list(get_args(kind)) if get_origin(kind) in (Union, UnionType) else [kind]
    texts = list(dict.fromkeys(_describe_part(part) for part in parts))
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])}, or {texts[-1]}"


def _describe_part(kind: Any) -> str:
    origin, items = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(map(str, items))
    if origin in (list, tuple):
        return f"a list of {ITEMS.get(items[0], 'values')}"
    if origin is dict:
        return "a table: NAME=VALUE"
    return NAMES[kind] if kind in NAMES else str(getattr(kind, "__name__", kind))


def _parts(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, UnionType):
        return tuple(part for part in get_args(kind) if part is not NoneType)
    return (kind,)
