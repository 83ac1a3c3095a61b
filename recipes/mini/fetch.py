"""Get the emoji that scenes are composed of: `python -m recipes.mini.fetch` (needs npm).

fluent-emoji-3d          Microsoft's Fluent emoji, 3D style, MIT: the objects
emoji-datasource-google  emoji.json (names) and Google's Noto drawings, Apache-2.0: the drawing style
"""

from __future__ import annotations

import argparse
import subprocess
import tarfile
from pathlib import Path

CACHE = Path(__file__).parent / ".cache"
PACKAGES = {
    "@lobehub/fluent-emoji-3d@1.1.0": ("fluent", ("package/assets/",)),
    "emoji-datasource-google@15.1.2": ("noto", ("package/emoji.json", "package/img/google/64/")),
}


def fetch(cache: Path) -> None:
    """Download and unpack what is missing into `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    for package, (folder, wanted) in PACKAGES.items():
        target = cache / folder
        if (target / "complete").exists():
            continue
        print(f"fetching {package}")
        packed = subprocess.run(
            ["npm", "pack", "--silent", package], cwd=cache, check=True, capture_output=True, text=True
        )
        archive = cache / packed.stdout.strip().splitlines()[-1]
        with tarfile.open(archive) as tar:
            members = [m for m in tar if m.isfile() and m.name.startswith(wanted)]
            for member in members:
                member.name = Path(member.name).name
            tar.extractall(target, members, filter="data")
        archive.unlink()
        (target / "complete").write_text(f"{package}: {len(members)} files\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=CACHE)
    fetch(parser.parse_args().cache)
