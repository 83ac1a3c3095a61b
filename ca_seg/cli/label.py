"""`ca-seg label`: labels for whole datasets."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from ca_seg.cli.parser import JobParser, settings_of
from ca_seg.cli.stopping import when_stopped
from ca_seg.errors import UserError
from ca_seg.jobs.label import LabelResults, LabelSettings, label

DESCRIPTION = (
    "Label images that have no masks: ca-seg label PHOTOS --concepts cat grass. PHOTOS is a folder or a list of "
    "images; it may also be given as data.root. The same command again continues where a run was stopped."
)
FORMER_OPTIONS = {"left_out": "exclude"}  # of formats
MAX_NAMED = 10  # skipped images


@dataclass(frozen=True)
class LabelCommand(LabelSettings):
    """Options of `ca-seg label`.

    Args:
        concepts: the classes, in place of a vocabulary file; auto: the words of captions by the captioner
    """

    concepts: tuple[str, ...] = ()


def run(arguments: Sequence[str]) -> int:
    """0 when every image has a label (from this run or one before), 1 when some have none."""
    command, folders = JobParser("ca-seg label", DESCRIPTION, LabelCommand).parse_with_positional(arguments)
    if len(folders) > 1:
        raise UserError(f"{len(folders)} folders", allowed="one", fix="words are given with --concepts cat grass")
    if command.concepts and command.vocabulary is not None:
        raise UserError("vocabulary and concepts are both given", allowed="one of the two")
    settings = settings_of(command, LabelSettings)
    settings = replace(settings, format_options=_present_options(settings.format_options))
    advice = f"the labels so far are whole, in {settings.out}: the same command again labels the other images"
    with when_stopped(lambda: advice):
        results = label(folders[0] if folders else None, command.concepts or None, settings)
    if not results.summary:
        return 0  # another process than the first
    _print(results)
    return 0 if results.complete else 1


def _print(results: LabelResults) -> None:
    console, skipped = Console(), results.skipped
    for image, reason in skipped[:MAX_NAMED]:
        console.print(f"skipped: {image}: {reason}", soft_wrap=True, markup=False, highlight=False)
    if len(skipped) > MAX_NAMED:
        more = f"... and {len(skipped) - MAX_NAMED} more, in {results.folder / 'summary.json'}"
        console.print(more, soft_wrap=True, markup=False)
    if results.missing:
        why = "the trainer's limit_predict_batches or fast_dev_run left them out"
        console.print(f"{results.missing} images have no label yet: {why}", soft_wrap=True, highlight=False)
    console.print(
        f"{results.labelled} labelled now, {results.summary['images']} in all, {len(skipped)} skipped: "
        f"{results.folder}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )


def _present_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of formats with their present names; says so on stderr where one has changed."""
    present: dict[str, Any] = {}
    for format, values in options.items():
        if not isinstance(values, Mapping):
            present[format] = values
            continue
        present[format] = {FORMER_OPTIONS.get(name, name): value for name, value in values.items()}
        for name in FORMER_OPTIONS.keys() & values.keys():
            note = f"note: format_options.{format}.{name} is now {FORMER_OPTIONS[name]}"
            print(note, file=sys.stderr)
    return present
