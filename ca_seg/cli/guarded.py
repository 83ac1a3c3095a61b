"""One line and exit status 2 for an error that the user can mend. Without Lightning, so that `--help` is quick."""

from __future__ import annotations

import sys
from typing import Any

from ca_seg.errors import UserError


def guarded(main: Any) -> int:
    """Run `main()`: its exit status, or 2 with one line on stderr for an error that the user can mend."""
    try:
        return int(main() or 0)
    except UserError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
