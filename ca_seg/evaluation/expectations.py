"""Expected figures of a config: `expect: {metrics/full-vocabulary/miou: [0.63, 0.01]}` gives [value, tolerance]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ca_seg.errors import UserError


def check_pairs(expected: Mapping[str, Any]) -> None:
    """Raises UserError for an expectation that is not [value, tolerance]; called before a run."""
    for path, pair in expected.items():
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(x, int | float) for x in pair):
            raise UserError(f"expect.{path} is {pair!r}", allowed="[value, tolerance]")


def check_expected(expected: Mapping[str, Any], results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Compare each expected figure with the results.

    Args:
        expected: path to a number ("metrics/full-vocabulary/miou") -> [value, tolerance]
        results: as in results.json

    Returns:
        One dict per expectation: figure, expected, tolerance, found, holds.

    Raises:
        UserError: for an entry that does not name a number
    """
    checks = []
    for path, pair in expected.items():
        value: Any = results
        for key in path.split("/"):
            if not isinstance(value, Mapping) or key not in value:
                known = ", ".join(value) if isinstance(value, Mapping) else "nothing below it"
                raise UserError(f"expect names {path!r}, but there is no {key!r}", allowed=known)
            value = value[key]
        if not isinstance(value, int | float):
            raise UserError(f"expect names {path!r}, which is not a number")
        wanted, tolerance = float(pair[0]), float(pair[1])
        holds = abs(value - wanted) <= tolerance
        checks.append({"figure": path, "expected": wanted, "tolerance": tolerance, "found": value, "holds": holds})
    return checks
