"""The command line of a job, made from its settings by jsonargparse: types, help, config files, --print_config."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import MISSING, fields
from inspect import signature
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from ca_seg.cli.config import CONFIG, with_configs
from ca_seg.cli.options import Dialect, options_of
from ca_seg.errors import UserError, close_matches

NOT_FOR_USERS = {"callbacks", "logger", "plugins", "profiler", "model_registry", "enable_checkpointing"}


class JobParser:
    """Arguments to an instance of `settings`, a dataclass that may nest others.

    A field `trainer` becomes the flags of Lightning's Trainer; `defaults` are other defaults than the settings' own.
    """

    def __init__(self, command: str, description: str, settings: type[Any], **defaults: Any) -> None:
        self.settings = settings
        self.parser = ArgumentParser(prog=command, description=description, exit_on_error=False)
        self.parser.add_argument(CONFIG, action="config", help="a YAML file; later arguments override it")
        names = {field.name for field in fields(settings)}
        self.parser.add_class_arguments(settings, skip={"trainer"} & names)
        self.has_trainer = "trainer" in names
        if self.has_trainer:
            from pytorch_lightning import Trainer  # only here: it takes seconds to import

            from ca_seg.jobs.trainer import DEFAULTS

            self.parser.add_class_arguments(Trainer, "trainer", skip=NOT_FOR_USERS, instantiate=False)
            self.trainer_defaults = {name: p.default for name, p in signature(Trainer).parameters.items()} | DEFAULTS
            self.trainer_defaults |= {k.partition(".")[2]: v for k, v in defaults.items() if k.startswith("trainer.")}
            defaults = {f"trainer.{name}": value for name, value in DEFAULTS.items()} | defaults
        self.parser.set_defaults(defaults)
        self.dialect = Dialect(options_of(settings), trainer=self.has_trainer)

    def parse(self, arguments: Sequence[str]) -> Any:
        """The settings. Raises UserError for an unknown option or a value of the wrong type; --help exits."""
        settings, positional = self.parse_with_positional(arguments)
        if positional:
            raise UserError(f"{positional[0]!r} belongs to no option", fix=f"`{self.parser.prog} --help` lists all")
        return settings

    def parse_with_positional(self, arguments: Sequence[str]) -> tuple[Any, list[str]]:
        """The settings, and the arguments that belong to no option. Raises as `parse`."""
        options, positional = self.dialect.rewrite(arguments)
        try:
            parsed = self.parser.parse_args(with_configs(options, self.dialect.options))
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
        """jsonargparse's message in one line, with close names for an option that there is not."""
        text = " ".join(message.split())
        unknown = re.search(r"[Uu]nrecognized arguments?: (--[\w.-]+)", text) or re.search(r"[Kk]ey '([\w.]+)'", text)
        options = [*self.dialect.options, *self.dialect.short]
        allowed = ""
        if unknown is not None:
            name = unknown[1].lstrip("-")
            near = close_matches(name.replace("-", "_"), options)
            allowed = ", ".join(f"--{option}" for option in near)
        return UserError(text, allowed=allowed, fix=f"`{self.parser.prog} --help` lists all options")
