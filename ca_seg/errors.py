"""The errors that a user can correct.

All of them are UserErrors, so that the command line can print one line in place of a traceback, and a script can catch
one type. An error says what is wrong (with the file or value), what is allowed, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

LONGEST = 2000  # characters of a message


class UserError(ValueError):
    """Something that a user gave cannot be used. The message joins the three parts below to one line of sentences.

    Args:
        what: is wrong, with the file or value
        allowed: what would be accepted
        fix: what to do

    Example:
        >>> raise UserError("timestep 3", allowed="0 to 1", fix="leave it out for the backbone's own")
    """

    def __init__(self, what: str, *, allowed: str = "", fix: str = "") -> None:
        self.what, self.allowed, self.fix = what, allowed, fix
        parts = [f"allowed: {allowed}" if allowed else "", fix]
        sentences = [_with_capital(part) for part in parts if part]
        super().__init__(_one_line(" ".join(map(_with_full_stop, [what, *sentences]))))


def _one_line(text: str) -> str:
    """Without line breaks and control characters, which a file's name or content could send to a terminal."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 303]} … {text[-300:]}"


def _with_capital(text: str) -> str:
    """With a capital, unless it begins with a path, a command or a name of the code."""
    return text[0].upper() + text[1:] if text.split()[0].rstrip(",.:?").isalpha() else text


def _with_full_stop(text: str) -> str:
    """With a full stop, unless there is one or it is a question."""
    return text if text.endswith(("?", ".")) else text + "."


class UnreadableImage(UserError):
    """An image file that is missing, truncated, or not an image."""


class BadMask(UserError):
    """A mask of another size than its image, or with a label outside the class list."""


class BadDataset(UserError):
    """A dataset folder that lacks a part, or whose parts do not fit each other."""


class UnknownName(UserError):
    """A name that is not in a fixed list (backbone, dataset, word ...).

    Args:
        kind: what the name is of, such as "dataset"
        name: as the user wrote it
        known: all names that there are; close ones are suggested
        fix: what to do

    Attributes:
        close_matches: the known names that are most like it, the closest first
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, fix: str = "") -> None:
        known = list(known)
        close = close_matches(name, known) if isinstance(name, str) else []
        if close:
            allowed = "did you mean " + " or ".join(repr(c) for c in close) + "?"
        elif len(known) <= 40:
            allowed = ", ".join(known)
        else:
            allowed = f"one of {len(known)} names"
        super().__init__(f"unknown {kind} {name!r}", allowed=allowed, fix=fix)
        self.close_matches = close


class UnknownNames(UnknownName):
    """Several such names at once, so that they are corrected at once.

    Args:
        kind: what the names are of, in the plural, such as "words"
        names: as the user wrote them
        known: all names that there are; close ones are suggested for each
        fix: what to do

    Attributes:
        close_matches: those of all names
    """

    def __init__(self, kind: str, names: Sequence[str], known: Iterable[str], *, fix: str = "") -> None:
        known = list(known)
        close = [close_matches(name, known) for name in names]
        parts = [f"{name!r}{_did_you_mean(near)}" for name, near in zip(names, close, strict=True)]
        UserError.__init__(self, f"unknown {kind} {', '.join(parts)}", fix=fix)
        self.close_matches = [match for near in close for match in near]


class OutOfRange(UserError):
    """A number outside its range (layer, timestep, samples ...)."""


class WeightsUnavailable(UserError):
    """Weights that are missing, gated, or not reachable."""


class CorruptWeights(UserError):
    """Weights that are there, but not as the card says (checksum, names, shapes)."""


class UnusableFeatures(UserError):
    """Features that are missing in a cache, or differ from what was written."""


class WordsWarning(UserWarning):
    """Words whose maps cannot be relied on: training never taught them, or none of them is likely in an image."""


class DataWarning(UserWarning):
    """Data that can be used, but whose figures would mislead: images that are both trained and scored on."""


def close_matches(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names whose spelling is most like `name`, the closest first.

    Args:
        name: as a user wrote it
        known: all names that there are
        count: the largest number of names to return

    Returns:
        at most `count` names; none where no name is close
    """
    return difflib.get_close_matches(name.lower(), list(known), n=count, cutoff=0.6)


def _did_you_mean(close: Sequence[str]) -> str:
    return f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
