"""Packages that Python is told not to find, as if not installed. The check of the wheel (.ci/wheel) uses it too."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def hide(names: Iterable[str]) -> None:
    """From here on `import NAME` fails and `importlib.util.find_spec(NAME)` is None, for this process."""
    hidden = frozenset(names)

    class WithoutHidden(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path=None, target=None) -> ModuleSpec | None:
            return None if fullname.partition(".")[0] in hidden else PathFinder.find_spec(fullname, path, target)

    sys.meta_path[:] = [WithoutHidden if finder is PathFinder else finder for finder in sys.meta_path]


def hide_all_but(requirement: str) -> None:
    """Hide every package but those that `pip install REQUIREMENT` would install."""
    kept = closure(requirement)
    hide(
        module
        for module, distributions in packages_distributions().items()
        if not kept & {canonicalize_name(name) for name in distributions}
    )


def closure(requirement: str) -> set[str]:
    """The names of the distributions that a requirement brings, by the metadata of what is installed."""
    waiting, seen = [Requirement(requirement)], set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            lines = requires(wanted.name) or []
        except PackageNotFoundError:  # not needed on this platform, or not installed
            continue
        for line in map(Requirement, lines):
            if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in (*wanted.extras, "")):
                waiting.append(line)
    return {name for name, _ in seen}
