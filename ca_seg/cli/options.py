"""The options of a settings class by name, and the ways in which users write them.

--model.backbone mini      the option's full name, as in config files
--backbone mini            short: where only one group has an option of that name
--save-predictions         dashes for underscores; a yes-or-no option needs no "true"
--no-report                the opposite
--layers 2 3               a list without brackets
--colors cat=red sky=blue  a table without braces
--device cuda              the trainer's accelerator, where the command has a trainer
--model.samples 4          a former name: still read, with a line on stderr
"""

from __future__ import annotations

import json
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from ca_seg.errors import UserError

FORMER = {  # former names, of options and of the keys of config files
    "model.samples": "model.noise_samples",
    "model.heads": "model.per_head",
    "samples": "noise_samples",
    "heads": "per_head",
    "timestep": "timesteps",
    "grid.samples": "grid.noise_samples",
    "keeping": "checkpoint",
    "keeping.keep": "checkpoint.keep",
    "keeping.patience": "checkpoint.patience",
    "keeping.tensorboard": "checkpoint.tensorboard",
    "least_pixels": "min_pixels",
    "pictures": "images",
}
FORMER_VALUES = {  # former values by option
    ("data.name", "pictures"): "images",
    ("confidence", "max_share"): "max_probability",
    ("measure", "max_share"): "max_probability",
    ("model.loss_at", "picture"): "image",
    ("data.augment", "pictures"): "images",
}
ONE_PART = ("data.splits", "data.split")  # `splits: [val]` given to a command that looks at one part
PASSED_ON = ("config-file", "print-config", "help")


def options_of(settings: type, prefix: str = "") -> dict[str, Any]:
    """The type of every option of a settings dataclass, nested ones joined by dots; `dict` fields count as one."""
    found: dict[str, Any] = {}
    hints = get_type_hints(settings)
    for field in fields(settings):
        kind = hints[field.name]
        if isinstance(kind, type) and is_dataclass(kind):
            found |= options_of(kind, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = kind
    return found


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


def is_pair(text: str) -> bool:
    """Whether an argument is written NAME=VALUE."""
    return "=" in text and not text.startswith(("-", "{"))


def is_bool(kind: Any) -> bool:
    return bool in _parts(kind)


def _parts(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in (Union, UnionType):
        return tuple(part for part in get_args(kind) if part is not NoneType)
    return (kind,)


class Dialect:
    """Rewrites the arguments of one command to the full names that its parser knows."""

    def __init__(self, options: Mapping[str, Any], *, trainer: bool = False) -> None:
        self.options, self.trainer = dict(options), trainer
        self.short = _short_names(options)

    def rewrite(self, arguments: Sequence[str]) -> tuple[list[str], list[str]]:
        """Options, each with its full name and its value behind it; and the arguments that belong to no option."""
        options: list[str] = []
        positional: list[str] = []
        waiting = list(arguments)
        while waiting:
            argument = waiting.pop(0)
            if argument == "--":
                return options, positional + waiting
            if not argument.startswith("--"):
                (options if argument.startswith("-") and argument != "-" else positional).append(argument)
                continue
            written, equals, value = argument[2:].partition("=")
            if written.replace("_", "-") in PASSED_ON:
                takes_value = written.replace("_", "-") == "config-file" and not equals and bool(waiting)
                options += [argument, waiting.pop(0)] if takes_value else [argument]
                continue
            name, negated = self.full_name(written)
            if negated:
                options += [f"--{name}", "false"]
            elif equals:
                options += [f"--{name}", former_value(name, value)]
            else:
                options += [f"--{name}", *self._take_value(name, waiting)]
        return options, positional

    def _take_value(self, name: str, waiting: list[str]) -> list[str]:
        """The value of an option, taken from what follows it."""
        kind = self.options.get(name)
        if kind is not None and is_bool(kind):
            return [waiting.pop(0) if waiting and waiting[0].lower() in ("true", "false") else "true"]
        if kind is not None and is_table(kind) and waiting and is_pair(waiting[0]):
            return [_as_table(waiting)]
        if kind is not None and is_list(kind):
            numbers = holds_numbers(kind)
            return [_as_list(_values(waiting, numbers=numbers), numbers=numbers)]
        return [former_value(name, waiting.pop(0))] if waiting else []

    def full_name(self, written: str) -> tuple[str, bool]:
        """An option's full name, and whether "no-" stands before it. An unknown name is given back as it is."""
        name = written.replace("-", "_")
        for candidate, negated in ((name, False), (name.removeprefix("no_"), name.startswith("no_"))):
            candidate = former_name(candidate, self)
            if candidate in self.options:
                return candidate, negated
            if candidate in self.short:
                return self.short[candidate], negated
            if candidate in ("splits", ONE_PART[0]) and ONE_PART[1] in self.options:
                return ONE_PART[1], negated
            last = candidate.partition(".")[2]
            if candidate.startswith(("model.", "data.")) and last in self.options:
                return last, negated
        if name == "device" and self.trainer:
            return "trainer.accelerator", False
        return (name if name.startswith("trainer.") else written), False


def former_name(name: str, dialect: Dialect | None = None) -> str:
    """The present name of an option or key; says so on stderr where it has changed."""
    if name not in FORMER or (dialect is not None and (name in dialect.options or name in dialect.short)):
        return name
    _note(f"{name} is now {FORMER[name]}")
    return FORMER[name]


def former_value(option: str, value: Any) -> Any:
    """The present value of an option; says so on stderr where it has changed."""
    if option == ONE_PART[1]:
        return _one_part(value)
    if not isinstance(value, str) or (option, value) not in FORMER_VALUES:
        return value
    _note(f"{option} {value} is now {FORMER_VALUES[option, value]}")
    return FORMER_VALUES[option, value]


def present_keys(content: Mapping[str, Any], options: Container[str], above: str = "") -> dict[str, Any]:
    """The content of a config file with former keys and values replaced by those of a command's `options`."""
    result: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{above}{key}"
        if name in FORMER:
            name = former_name(name)
        if name == ONE_PART[0] and name not in options and ONE_PART[1] in options:
            name = ONE_PART[1]
        key = name.removeprefix(above)
        result[key] = (
            present_keys(value, options, f"{name}.") if isinstance(value, Mapping) else former_value(name, value)
        )
    return result


def _one_part(value: Any) -> Any:
    """The one part of `[val]` or ["val"]. Raises UserError for several."""
    parts = value.strip("[]").split(",") if isinstance(value, str) and value.startswith("[") else value
    if not isinstance(parts, list):
        return value
    if len(parts) != 1:
        raise UserError(f"{len(parts)} parts of the dataset", allowed="one", fix="give data.split a name")
    return parts[0].strip().strip("\"'")


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


def _short_names(options: Iterable[str]) -> dict[str, str]:
    """The last part of each nested option, where no other has the same."""
    names: dict[str, list[str]] = {}
    for option in options:
        names.setdefault(option.rpartition(".")[2], []).append(option)
    return {short: full[0] for short, full in names.items() if len(full) == 1 and short not in options}


def _values(waiting: list[str], *, numbers: bool) -> list[str]:
    """Takes the values up to the next option, of a list of numbers up to what is no number."""
    taken: list[str] = []
    while waiting:
        value = waiting[0]
        bracketed = not taken and (value.startswith("[") or value == "null")
        if not bracketed and not _is_number(value) and (numbers or (value.startswith("-") and value != "-")):
            break
        taken.append(waiting.pop(0))
        if bracketed:
            break
    return taken


def _as_list(values: Sequence[str], *, numbers: bool) -> str:
    """As JSON; what was written with brackets stays."""
    if len(values) == 1 and values[0].startswith(("[", "null")):
        return values[0]
    return json.dumps([_number(value) if numbers else value for value in values])


def _as_table(waiting: list[str]) -> str:
    """Takes all that is written NAME=VALUE, as JSON."""
    table = {}
    while waiting and is_pair(waiting[0]):
        name, _, value = waiting.pop(0).partition("=")
        table[name] = _number(value)
    return json.dumps(table)


def _is_number(text: str) -> bool:
    return isinstance(_number(text), int | float)


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
