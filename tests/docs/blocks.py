"""The code blocks of a page, and how its commands are run.

    ```bash                                     executed, command by command
    ```python                                   executed, all blocks of a page in one namespace
    <!-- not executed: REASON -->               before a block: it is left out, and there must be a reason

Commands of this project are called in this process: starting Python and torch anew for each would take minutes.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from ca_seg.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(
    r"(?:<!-- not executed:(?P<reason>.*?)-->\n)?```(?P<language>bash|python)\n(?P<code>.*?)```", flags=re.DOTALL
)
SCRIPTS = {"eval.py": "eval", "train.py": "train"}

# What keeps a command short. Everything else runs as the page has it.
FEW = {
    "eval": ["--data.limit", "2", "--compare", "[]", "--expect", "{}"],
    "train": ["--data.limit", "8", "--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "1"],
    "label": ["--data.limit", "4", "--data.num_workers", "0"],
    "calibrate": ["--data.limit", "4"],
    "serve": ["--check", "true", "--port", "0"],
    "ablate": ["--data.limit", "1", "--grid.timesteps", "[0.2]", "--grid.noise_samples", "[1]"],
}


@dataclass(frozen=True)
class Block:
    """One block of code: its language, its text, and the reason why it is not executed ("" where it is)."""

    language: str
    code: str
    reason: str
    line: int

    @property
    def executed(self) -> bool:
        return not self.reason


def blocks(page: Path) -> list[Block]:
    """All bash and Python blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            match["language"],
            match["code"],
            "" if match["reason"] is None else match["reason"].strip() or "MISSING",
            text.count("\n", 0, match.start("code")) + 1,
        )
        for match in BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """The commands of a bash block as words: comments left out, continued lines joined."""
    lines = block.code.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def is_ours(words: list[str]) -> bool:
    return words[0] == "ca-seg" or (words[0] == "python" and words[1] in SCRIPTS)


def run(words: list[str]) -> int:
    """The exit status of one command of this project, on few images."""
    name, arguments = (words[1], words[2:]) if words[0] == "ca-seg" else (SCRIPTS[words[1]], words[2:])
    given = {argument.partition("=")[0] for argument in arguments}
    extra = FEW.get(name, [])
    for option, value in zip(extra[::2], extra[1::2], strict=True):
        if option not in given:
            arguments = [*arguments, option, value]
    return main([name, *arguments])
