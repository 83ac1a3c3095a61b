"""Get the repositories of the pictures and of their teachers: `python -m recipes.photo.fetch` (needs a connection).

Each repository is fetched at the commit in `sources.py`, without its history. What is complete is not fetched again.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from recipes.photo.detectors import DETECTORS
from recipes.photo.segmenters import SEGMENTERS
from recipes.photo.sources import SOURCES

CACHE = Path(__file__).parent / ".cache"


def repository_folder(cache: Path, repository: str) -> Path:
    return cache / "repositories" / repository.replace("/", "+")


def fetch(cache: Path) -> None:
    """Fetch what is missing into `cache`."""
    wanted = {source.repository: source.commit for source in SOURCES}
    wanted |= {network.repository: network.commit for network in (*SEGMENTERS, *DETECTORS)}
    for repository, commit in wanted.items():
        folder = repository_folder(cache, repository)
        if folder.exists():
            continue
        print(f"fetching {repository}", flush=True)
        partial = folder.with_name(folder.name + ".partial")
        subprocess.run(["git", "init", "--quiet", "--bare", str(partial)], check=True)
        address = f"https://github.com/{repository}"
        command = ["git", "--git-dir", str(partial), "fetch", "--quiet", "--depth", "1", address, commit or "HEAD"]
        subprocess.run(command, check=True)
        subprocess.run(["git", "--git-dir", str(partial), "update-ref", "HEAD", "FETCH_HEAD"], check=True)
        partial.rename(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE)
    fetch(parser.parse_args().cache)
