"""The errors a user can mend.

Everything a user can get wrong ends in one of these, so that the command line can print one clear line instead of a
traceback, and a script can catch one type. An error states what is wrong (with the file or value), what is allowed,
and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Something the user gave cannot be used: `what` it is, what is `allowed` there, and what would `fix` it."""

    def __init__(self, what: str, *, allowed: str = "", fix: str = "") -> None:
        self.what, self.allowed, self.fix = what, allowed, fix
        rest = [f"allowed: {allowed}" if allowed else "", fix]
        super().__init__(" ".join([_ended(what), *(_ended(part[0].upper() + part[1:]) for part in rest if part)]))


def _ended(text: str) -> str:
    """With one full stop, unless it ends as a question."""
    return text if text.endswith(("?", ".")) else text + "."


class UnreadableImage(UserError):
    """An image file that is missing, truncated, or not an image."""


class BadMask(UserError):
    """A mask of another size than its image, or with a label outside the class list."""


class BadDataset(UserError):
    """A dataset folder that is missing a part, or whose parts do not fit each other."""


class UnknownName(UserError):
    """A name that is not in a fixed list (backbone, layer space, dataset, word ...)."""

    def __init__(self, kind: str, name: str, known: Iterable[str], *, fix: str = "") -> None:
        known = list(known)
        close = close_matches(name, known)
        if close:
            allowed = "did you mean " + " or ".join(repr(c) for c in close) + "?"
        elif len(known) <= 40:
            allowed = ", ".join(known)
        else:
            allowed = f"one of {len(known)} names"
        super().__init__(f"unknown {kind} {name!r}", allowed=allowed, fix=fix)
        self.close_matches = close


class OutOfRange(UserError):
    """A number outside its range (layer, timestep, samples ...)."""


class WeightsUnavailable(UserError):
    """Weights that are missing, gated, or not reachable."""


class CorruptWeights(UserError):
    """Weights that are there but are not what the card says (checksum, names, shapes)."""


class UnusableFeatures(UserError):
    """Features that are not in a cache, or not as they were written."""


def close_matches(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The `count` known names most like `name`, by spelling; empty when none is close."""
    return difflib.get_close_matches(name.lower(), list(known), n=count, cutoff=0.6)
