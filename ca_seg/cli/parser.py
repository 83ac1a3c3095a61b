"""The command line of a job, made from its settings by jsonargparse: types, help, config files, --print_config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from inspect import signature
from typing import Any, TypeVar, get_type_hints

from jsonargparse import ArgumentError, ArgumentParser

from ca_seg.cli.config import CONFIG, with_configs
from ca_seg.cli.kinds import describe, options_of
from ca_seg.cli.options import Dialect
from ca_seg.errors import UserError, close_matches

Settings = TypeVar("Settings")

NOT_FOR_USERS = {"callbacks", "logger", "plugins", "profiler", "model_registry", "enable_checkpointing"}

BATCHES = {  # options of the Trainer that count batches
    "limit_train_batches": "batches to train on in an epoch",
    "limit_val_batches": "batches to validate on",
    "limit_test_batches": "batches to test",
    "limit_predict_batches": "batches to predict",
    "overfit_batches": "batches to train on again and again",
    "val_check_interval": "batches between validations",
}

EPILOG = (
    "Names may be short where that is clear, and lists need no brackets: --backbone mini, --data FOLDER, --layers 2 3, "
    "--colors cat=red, --no-report. Where there is a trainer, --device cuda:1 stands for its accelerator and devices."
)


class JobParser:
    """Arguments to an instance of `settings`, a dataclass that may nest others.

    A field `trainer` becomes the flags of Lightning's Trainer; `defaults` are other defaults than the settings' own.
    """

    def __init__(self, command: str, description: str, settings: type[Any], **defaults: Any) -> None:
        self.settings = settings
        self.parser = ArgumentParser(
            prog=command,
            usage=f"{command} [--config-file FILE] [--NAME VALUE ...]",
            description=description,
            epilog=EPILOG,
            exit_on_error=False,
            allow_abbrev=False,
        )
        self.parser.add_argument(CONFIG, action="config", help="a YAML file; later arguments override it")
        names = {field.name for field in fields(settings)}
        self.parser.add_class_arguments(settings, skip={"trainer"} & names)
        self.has_trainer = "trainer" in names
        self.kinds = options_of(settings)
        if self.has_trainer:
            from pytorch_lightning import Trainer  # only here: it takes seconds to import

            from ca_seg.jobs.trainer import DEFAULTS

            self.parser.add_class_arguments(Trainer, "trainer", skip=NOT_FOR_USERS | {*BATCHES}, instantiate=False)
            for name, batches in BATCHES.items():  # Lightning's own type may have float first: 1 would be all of them
                self.parser.add_argument(
                    f"--trainer.{name}",
                    type=int | float | None,
                    default=signature(Trainer).parameters[name].default,
                    help=f"{batches}: a whole number of them (1), or a part of all (0.5; 1.0)",
                )
            self.trainer_defaults = {name: p.default for name, p in signature(Trainer).parameters.items()} | DEFAULTS
            self.trainer_defaults |= {k.partition(".")[2]: v for k, v in defaults.items() if k.startswith("trainer.")}
            defaults = {f"trainer.{name}": value for name, value in DEFAULTS.items()} | defaults
            hints = get_type_hints(Trainer.__init__)
            self.kinds |= {f"trainer.{name}": kind for name, kind in hints.items() if name not in NOT_FOR_USERS}
        self.parser.set_defaults(defaults)
        data = get_type_hints(settings).get("data")
        folder = getattr(data, "FOLDER", "folder")
        self.dialect = Dialect(options_of(settings), trainer=self.has_trainer, folder=folder)

    def parse(self, arguments: Sequence[str]) -> Any:
        """The settings. Raises UserError for an unknown option or a value of the wrong type; --help exits."""
        settings, positional = self.parse_with_positional(arguments)
        if positional:
            fix = f"options are written --NAME VALUE; `{self.parser.prog} --help` lists all"
            raise UserError(f"{positional[0]!r} belongs to no option", fix=fix)
        return settings

    def parse_with_positional(self, arguments: Sequence[str]) -> tuple[Any, list[str]]:
        """The settings, and the arguments that belong to no option. Raises as `parse`."""
        options, positional = self.dialect.rewrite(arguments)
        try:
            parsed = self.parser.parse_args(with_configs(options, self.dialect))
            trainer = parsed.pop("trainer").as_dict() if self.has_trainer else {}
            objects = self.parser.instantiate(parsed)
        except ArgumentError as problem:
            raise self._explained(str(problem)) from problem
        values = {f.name: objects[f.name] for f in fields(self.settings) if f.name != "trainer"}
        if self.has_trainer:
            defaults = self.trainer_defaults  # compared as text, for --trainer.devices 1 may come as "1"
            values["trainer"] = {k: v for k, v in trainer.items() if str(v) != str(defaults.get(k, MISSING))}
        return self.settings(**values), positional

    def _explained(self, message: str) -> UserError:
        """jsonargparse's message in one line: an option, its value and what it takes; or names like an unknown one."""
        text, fix = " ".join(message.split()), f"`{self.parser.prog} --help` lists all options"
        wrong = re.match(r'Parser key "([\w.]+)":', text)
        if wrong is not None and wrong[1] in self.kinds:
            value = re.search(r".*(?:Given|Got) value: (.*?)\.?$", text)
            written = f"{wrong[1]} is {value[1]!r}" if value is not None else f"{wrong[1]} has a value of another type"
            return UserError(written, allowed=describe(self.kinds[wrong[1]]), fix=fix)
        if wrong is not None and wrong[1] in self.dialect.groups:
            names = [name for name in self.dialect.options if name.startswith(f"{wrong[1]}.")]
            return UserError(f"{wrong[1]} is a group of options", allowed=f"{', '.join(names[:3])} ...", fix=fix)
        unknown = re.search(r"[Uu]nrecognized arguments?: (--?[\w.-]+)", text) or re.search(
            r"[Oo]ption '([\w.]+)'", text
        )
        if unknown is None:
            return UserError(text, fix=fix)
        name = unknown[1].lstrip("-").replace("-", "_")
        near = close_matches(name, [*self.kinds, *self.dialect.short, "config_file"])
        flags = [f"--{option.replace('_', '-')}" for option in near]
        allowed = f"did you mean {' or '.join(flags)}?" if flags else ""
        return UserError(f"unknown option {unknown[1]}", allowed=allowed, fix=fix)


def settings_of(command: Any, kind: type[Settings]) -> Settings:
    """The settings of a job, from those of a command that adds options of its own (a subclass)."""
    return kind(**{f.name: getattr(command, f.name) for f in fields(kind)})  # type: ignore[arg-type]
