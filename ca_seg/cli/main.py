"""`ca-seg COMMAND ...`: one table of commands; each parses its arguments, calls one function and prints."""

from __future__ import annotations

import errno
import os
import re
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TextIO

from ca_seg import __version__
from ca_seg.cli.stopping import Stop
from ca_seg.errors import DataWarning, UnknownName, UserError, WordsWarning
from ca_seg.optional import optional_imports

COMMANDS = {  # module and function, and one line of help; the module is imported when its command is called
    "segment": ("ca_seg.cli.images_first:run_segment", "segment images by words"),
    "parts": ("ca_seg.cli.parts:run", "segment images without words"),
    "view": ("ca_seg.cli.view:run", "a local web page: type words, and masks follow"),
    "video": ("ca_seg.cli.video:run_video", "segment a video by words"),
    "edit": ("ca_seg.cli.edit:run", "change what words name in a photograph"),
    "zoo": ("ca_seg.cli.zoo:run", "the backbones: list, show, plan, page"),
    "methods": ("ca_seg.cli.methods:run", "the methods that can be compared"),
    "data": ("ca_seg.cli.data:run", "the datasets: list, path"),
    "eval": ("ca_seg.cli.evaluate:run", "zero-shot evaluation of a dataset"),
    "train": ("ca_seg.cli.train:run", "train a head on a frozen backbone"),
    "label": ("ca_seg.cli.label:run", "label whole datasets"),
    "calibrate": ("ca_seg.cli.calibrate:run", "fit confidence on images with masks"),
    "review": ("ca_seg.cli.review:run", "a page of the least certain labels of a run, and its statistics"),
    "compare": ("ca_seg.cli.compare:run", "two results.json of the same images, with intervals"),
    "ablate": ("ca_seg.cli.ablate:run", "the paper's ablations, with tables and plots"),
    "two-class": ("ca_seg.cli.two_class:run", "the paper's protocol: one object against background words"),
    "serve": ("ca_seg.cli.serve:run", "answer Label Studio, as its machine learning backend"),
    "video-eval": ("ca_seg.cli.video:run_evaluation", "zero-shot J and F on clips in the DAVIS layout"),
}

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk
ADVICE = {  # for what the system refuses
    **dict.fromkeys(FULL, "Free some space, or give another folder"),
    errno.ENOMEM: "Close other programs, or use a machine with more memory",
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ELOOP), "Rename the file, or give another path"),
}
NO_MEMORY = ("can't allocate memory", "cannot allocate memory", "out of memory", "failed to map segment")
OURS = (WordsWarning, DataWarning)
SMALLER = "Give a lower resolution, fewer noise samples, or a smaller batch size"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 1 done in part (an image was skipped, a figure is off), 2 could not start.

    128 and more: a signal stopped it.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"ca-seg {__version__}")
        return 0
    with Stop() as stop:
        try:
            status = _status(words)
        except BaseException:
            if stop.received is None:
                raise
        if stop.received is not None:
            stop.end()
        return status


def _status(words: Sequence[str]) -> int:
    """The exit status of a command that is not stopped by a signal."""
    try:
        with warnings.catch_warnings():
            for category in OURS:
                warnings.simplefilter("always", category)
            warnings.showwarning = _show_warning  # it is restored at the end of the block
            status = _run(words[0], words[1:])
        sys.stdout.flush()  # here, where a reader that has gone is noticed
        return status
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `ca-seg ... | head`: nobody reads the rest
        _drop_output()
        return 1
    except OSError as problem:
        advice = ADVICE.get(problem.errno or 0)
        if advice is None:
            raise
        if problem.filename is None and problem.errno in FULL:
            _drop_output()  # it may be standard output that takes no more
        where = f" ({problem.filename!s:.300})" if problem.filename else ""
        print(f"error: {os.strerror(problem.errno or 0)}{where}. {advice}.", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError, ImportError) as problem:  # a library may have no room to be loaded
        if not _is_out_of_memory(problem):
            raise
        print(f"error: there is not enough memory{_wanted(problem)}. {SMALLER}.", file=sys.stderr)
        return 2


def _drop_output() -> None:
    """What was printed and not yet written is dropped: Python would try again at its end, and fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of ours as one line, any other as Python shows it."""
    if issubclass(category, OURS):
        print(f"warning: {message}", file=sys.stderr)
    else:
        sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def _run(command: str, arguments: Sequence[str]) -> int:
    if command not in COMMANDS:
        raise UnknownName("command", command, COMMANDS, fix="`ca-seg --help` lists all")
    module, _, function = COMMANDS[command][0].partition(":")
    with optional_imports(f"ca-seg {command}", job=command):
        return int(getattr(import_module(module), function)(arguments) or 0)


def _is_out_of_memory(problem: Exception) -> bool:
    """Of the machine or of a GPU; torch has no type of its own for the former."""
    text = str(problem)
    return isinstance(problem, MemoryError) or any(words in text.lower() for words in NO_MEMORY)


def _wanted(problem: Exception) -> str:
    """How much memory was asked for, where torch says it."""
    amount = re.search(r"allocate ([\d.]+ \w+)", str(problem))
    return f" (for {amount[1]} more)" if amount else ""


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ca-seg COMMAND ...    (ca-seg COMMAND --help for its options)",
            "",
            "Frozen diffusion transformers as segmentation backbones.",
            "",
            *lines,
            "",
            f"  {'--version':{width}}the version",
        ]
    )
