"""Arguments from config files and the command line, by jsonargparse: types, help, unknown keys, --print_config.

A config may build on another: `base: ../base/scenes.yaml` (relative to the config) is read first, then overridden.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import yaml
from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from ca_seg.errors import UserError, close_matches
from ca_seg.resources import resource_path

CONFIG = "--config-file"
TRAINER_LEFT_OUT = {"callbacks", "logger", "plugins", "profiler", "model_registry", "enable_checkpointing"}


def parser(description: str) -> ArgumentParser:
    """A parser with `--config-file FILE` (repeatable) and `--base FILE`."""
    made = ArgumentParser(description=description, exit_on_error=True)
    made.add_argument(CONFIG, action="config", help="a YAML file; what follows on the command line overrides it")
    made.add_argument("--base", type=str | None, default=None, help="the config that this one builds on")
    return made


def add_trainer(to: ArgumentParser, **defaults: Any) -> None:
    """Lightning's own flags: --trainer.accelerator, --trainer.devices, --trainer.precision ..."""
    to.add_class_arguments(pl.Trainer, "trainer", skip=TRAINER_LEFT_OUT, instantiate=False)
    to.set_defaults({f"trainer.{key}": value for key, value in defaults.items()})


@dataclass(frozen=True)
class Parsed:
    """The settings as objects, the Trainer's own arguments, and everything as plain values for results.json."""

    settings: Namespace
    trainer: dict[str, Any]
    given: dict[str, Any]


def parse(known: ArgumentParser, arguments: Sequence[str]) -> Parsed:
    """Parse `arguments` with a parser that has the Trainer's flags."""
    settings = known.parse_args(with_bases(arguments))
    given = json.loads(known.dump(settings, format="json", skip_none=False))
    trainer = settings.pop("trainer").as_dict()
    return Parsed(known.instantiate_classes(settings), trainer, given)


def new_trainer(*, devices_at_most: int | None = None, **settings: Any) -> pl.Trainer:
    """A Trainer. Raises UserError for an accelerator that is not there, and for more devices than can be used."""
    try:
        trainer = pl.Trainer(**settings)
    except (MisconfigurationException, RuntimeError) as problem:
        fix = "see --trainer.accelerator and --trainer.devices"
        raise UserError(f"Lightning cannot start: {str(problem).splitlines()[0]}", fix=fix) from problem
    if devices_at_most is not None and trainer.world_size > devices_at_most:
        raise UserError(f"{trainer.world_size} devices", allowed=f"{devices_at_most}", fix="--trainer.devices 1")
    return trainer


def quiet_lightning() -> None:
    """Lightning's hints on loader workers, loggers and products are not for a reader of results."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*`pin_memory`.*")
    warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")
    warnings.filterwarnings("ignore", ".*Checkpoint directory .* exists and is not empty.*")


def with_bases(arguments: Sequence[str]) -> list[str]:
    """The arguments, with every config's bases put before it."""
    result: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument == CONFIG or argument.startswith(f"{CONFIG}="):
            file = argument.partition("=")[2] or next(waiting, "")
            for step in chain(Path(file)):
                result += [CONFIG, str(step)]
        else:
            result.append(argument)
    return result


def chain(file: Path, seen: tuple[Path, ...] = ()) -> list[Path]:
    """`file` after everything it builds on. Raises UserError for a missing or broken file, or a circle."""
    if file.resolve() in seen:
        raise UserError(f"the config {file} builds on itself", fix="remove its `base`")
    file = shipped_config(file)
    if not file.is_file():
        there = sorted(p.name for p in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
        allowed = f"{', '.join(close_matches(file.name, there) or there)} in {file.parent}" if there else ""
        raise UserError(f"no config file {file}", allowed=allowed, fix="configs/ holds those that ship")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise UserError(f"the config {file} is not YAML: {problem}") from problem
    if not isinstance(content, dict):
        raise UserError(f"the config {file} holds no keys", allowed="key: value lines")
    base = content.get("base")
    before = chain((file.parent / base), (*seen, file.resolve())) if base else []
    return [*before, file]


def shipped_config(file: Path) -> Path:
    """`file`, or where it is not there and begins with configs/, the shipped one: from any folder."""
    if file.is_file() or file.parts[:1] != ("configs",):
        return file
    own = resource_path("configs") / Path(*file.parts[1:])
    return own if own.is_file() else file
