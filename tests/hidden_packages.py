"""Packages that Python is told not to find, as if not installed. The check of the wheel (.ci/wheel) uses it too."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder


def hide(names: Iterable[str]) -> None:
    """From here on `import NAME` fails and `importlib.util.find_spec(NAME)` is None, for this process."""
    hidden = frozenset(names)

    class WithoutHidden(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path=None, target=None) -> ModuleSpec | None:
            return None if fullname.partition(".")[0] in hidden else PathFinder.find_spec(fullname, path, target)

    present = [name for name in hidden if name in sys.modules]
    assert not present, f"already imported: {present}"
    sys.meta_path[:] = [WithoutHidden if finder is PathFinder else finder for finder in sys.meta_path]
