"""The end of a recipe's command: an error that a user can mend is one line, and the exit status is 2."""

from __future__ import annotations

import sys
from collections.abc import Callable

from ca_seg.errors import UserError


def run(main: Callable[[], int | None]) -> None:
    """Call `main` and leave with its exit status (None is 0)."""
    try:
        raise SystemExit(main())
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
