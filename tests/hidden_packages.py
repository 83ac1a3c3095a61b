"""Hides packages from Python, as if they were not installed. The check of the wheel (.ci/wheel) uses it too."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import (
    Distribution,
    DistributionFinder,
    PackageNotFoundError,
    packages_distributions,
    requires,
)

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def hide(modules: Iterable[str], distributions: Iterable[str] = ()) -> None:
    """Make these modules and the metadata of these distributions impossible to find in this process."""
    hidden, without_metadata = frozenset(modules), frozenset(distributions)

    class WithoutHidden(PathFinder):
        @classmethod
        def find_spec(cls, fullname: str, path=None, target=None) -> ModuleSpec | None:
            return None if fullname.partition(".")[0] in hidden else PathFinder.find_spec(fullname, path, target)

        @classmethod
        def find_distributions(cls, context=None) -> Iterator[Distribution]:
            distributions = PathFinder.find_distributions(DistributionFinder.Context() if context is None else context)
            return (item for item in distributions if canonicalize_name(item.metadata["Name"]) not in without_metadata)

    sys.meta_path[:] = [WithoutHidden if finder is PathFinder else finder for finder in sys.meta_path]


def hide_all_but(requirement: str) -> None:
    """Hide every package but those that `pip install REQUIREMENT` would install."""
    wanted = closure(requirement)
    installed = {
        module: {canonicalize_name(name) for name in names} for module, names in packages_distributions().items()
    }
    hide(
        [module for module, names in installed.items() if not wanted & names],
        set().union(*installed.values()) - wanted,
    )


def closure(requirement: str) -> set[str]:
    """The names of the distributions that a requirement brings, by the metadata of what is installed."""
    waiting, visited = [Requirement(requirement)], set()
    while waiting:
        wanted = waiting.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in visited:
            continue
        visited.add(key)
        try:
            lines = requires(wanted.name) or []
        except PackageNotFoundError:  # not needed on this platform, or not installed
            continue
        for line in map(Requirement, lines):
            if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in (*wanted.extras, "")):
                waiting.append(line)
    return {name for name, _ in visited}
