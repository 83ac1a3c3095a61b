"""The ways in which users write the options of a settings class, on the command line and in config files.

--model.backbone mini      the option's full name, as in config files
--backbone mini            short: where only one group has an option of that name
--data scenes              a group in place of its main option: data.name, model.backbone, refine.steps
--data FOLDER              a folder with images/, masks/ and classes.json
--save-predictions         dashes for underscores; a yes-or-no option needs no "true"
--no-report                the opposite
--layers 2 3               a list without brackets
--colors cat=red sky=blue  a table without braces
--head linear              the function's argument where the option has another name: train_head(head=), model.kind
--device cuda:1            the trainer's accelerator and devices, where the command has a trainer
--model.samples 4          a former name: still read, with a line on stderr
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ca_seg.cli.former import FORMER, ONE_PART, note, present_value
from ca_seg.cli.kinds import describe, holds_lists, holds_numbers, is_bool, is_list, is_table
from ca_seg.data.catalogue import DATASETS
from ca_seg.errors import UserError

PASSED_ON = {"config-file": "config-file", "print-config": "print_config", "help": "help"}
ARGUMENTS = {"head": "kind"}  # where an argument of the Python function has another name than the option
MAIN_OPTIONS = {"model": "backbone", "data": "name", "refine": "steps"}  # of a group, where its name is written alone


class Dialect:
    """Rewrites the arguments of one command to the full names that its parser knows.

    Args:
        options: the type of each option by its full name
        trainer: whether the command has a group of options for Lightning's Trainer
        folder: the `data.name` of a dataset that is any folder
    """

    def __init__(self, options: Mapping[str, Any], *, trainer: bool = False, folder: str = "folder") -> None:
        self.options, self.trainer, self.folder = dict(options), trainer, folder
        self.short = _short_names(options)
        self.groups = {option.rpartition(".")[0] for option in options if "." in option}

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
            passed_on = PASSED_ON.get(written.replace("_", "-"))
            if passed_on is not None:
                takes_value = passed_on == "config-file" and not equals
                options += [f"--{passed_on}{equals}{value}", *([_next(written, waiting)] if takes_value else [])]
                continue
            name, negated = self.full_name(written)
            if negated:
                options += [f"--{name}", "false"]
                continue
            value = value if equals else self._take_value(name, written, waiting)
            for option, content in self.assigned(name, value):
                options += [f"--{option}", content if isinstance(content, str) else json.dumps(content)]
        return options, positional

    def full_name(self, written: str) -> tuple[str, bool]:
        """An option's full name, and whether "no-" stands before it. An unknown name is given back as it is."""
        name = written.replace("-", "_")
        for candidate, negated in ((name, False), (name.removeprefix("no_"), name.startswith("no_"))):
            candidate = self._present_name(candidate)
            if candidate in self.options:
                return candidate, negated
            if candidate in self.short:
                return self.short[candidate], negated
            if ARGUMENTS.get(candidate) in self.short:
                return self.short[ARGUMENTS[candidate]], negated
            if candidate in ("splits", ONE_PART[0]) and ONE_PART[1] in self.options:
                return ONE_PART[1], negated
            group, _, last = candidate.partition(".")
            if group in MAIN_OPTIONS and group not in self.groups:  # a command that has the group's options at its top
                last = last or MAIN_OPTIONS[group]
                if last in self.options or group in self.options:
                    return (last if last in self.options else group), negated
        return (name if name.startswith("trainer.") or name in self.groups or name == "device" else written), False

    def assigned(self, name: str, value: Any) -> list[tuple[str, Any]]:
        """The options that `name` and its value stand for: several for a group, for a folder and for `device`."""
        if self._is_main(name, value):
            if name == "data" and value not in DATASETS and os.path.isdir(value):
                return [("data.name", self.folder), ("data.root", value)]
            name = f"{name}.{MAIN_OPTIONS[name]}"
        if name == "device" and self.trainer and isinstance(value, str):
            accelerator, _, index = value.partition(":")
            devices = [("trainer.devices", [int(index)])] if accelerator == "cuda" and index.isdigit() else []
            return [("trainer.accelerator", accelerator if devices or not index else value), *devices]
        return [(name, present_value(name, value))]

    def _is_main(self, name: str, value: Any) -> bool:
        """Whether a value stands for the main option of the group `name`."""
        main = f"{name}.{MAIN_OPTIONS.get(name, '')}"
        if name not in self.groups or main not in self.options:
            return False
        if isinstance(value, list):
            return is_list(self.options[main])
        return isinstance(value, str) and (not _is_content(value) or (value[0] == "[" and is_list(self.options[main])))

    def _present_name(self, name: str) -> str:
        """The present name of an option or key; says so on stderr where it has changed."""
        if name not in FORMER or name in self.options or name in self.short:
            return name
        note(f"{name} is now {FORMER[name]}")
        return FORMER[name]

    def _take_value(self, name: str, written: str, waiting: list[str]) -> str:
        """The value of an option, taken from what follows it. Raises UserError where nothing does."""
        kind = self.options.get(name)
        if waiting and self._is_main(name, waiting[0]):
            kind = self.options[f"{name}.{MAIN_OPTIONS[name]}"]
        if kind is not None and is_bool(kind):
            return waiting.pop(0) if waiting and waiting[0].lower() in ("true", "false") else "true"
        if kind is not None and is_table(kind) and waiting and _is_pair(waiting[0]):
            return _as_table(waiting, lists=holds_lists(kind))
        if kind is not None and is_list(kind):
            return self._take_list(kind, written, waiting)
        return _next(written, waiting, "" if kind is None else describe(kind))

    @staticmethod
    def _take_list(kind: Any, written: str, waiting: list[str]) -> str:
        numbers = holds_numbers(kind)
        values = _values(waiting, numbers=numbers)
        if not values and numbers and waiting and not waiting[0].startswith("--"):
            raise UserError(f"{written} is {waiting[0]!r}", allowed=describe(kind))
        if not values:
            raise UserError(f"--{written} has no value", allowed=describe(kind))
        return _as_list(values, numbers=numbers)


def _next(written: str, waiting: list[str], allowed: str = "") -> str:
    """The argument that follows. Raises UserError where there is none, or another option."""
    if not waiting or waiting[0].startswith("--"):
        raise UserError(f"--{written} has no value", allowed=allowed)
    return waiting.pop(0)


def _is_content(value: str) -> bool:
    """Whether the value of a group is its options: as a table, or in a YAML file."""
    return value.startswith(("{", "[")) or value.endswith((".yaml", ".yml"))


def _is_pair(text: str) -> bool:
    """Whether an argument is written NAME=VALUE."""
    return "=" in text and not text.startswith(("-", "{"))


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


def _as_list(values: Sequence[str], *, numbers: bool = False) -> str:
    """As JSON; what was written with brackets stays."""
    if len(values) == 1 and values[0].startswith(("[", "null")):
        return values[0]
    return json.dumps([_number(value) if numbers else value for value in values])


def _as_table(waiting: list[str], *, lists: bool) -> str:
    """Takes all that is written NAME=VALUE, as JSON; a list is written NAME=VALUE,VALUE."""
    table: dict[str, Any] = {}
    while waiting and _is_pair(waiting[0]):
        name, _, value = waiting.pop(0).partition("=")
        table[name] = value.split(",") if lists else _number(value)
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
