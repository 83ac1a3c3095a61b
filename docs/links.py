"""A hook of mkdocs: pages that lie beside the code become pages of the site, and links to code become links to GitHub.

On GitHub a page links to ../MODEL_ZOO.md or ../ca_seg/concept/tap.py. On the site the first is a page, and the second
is not there.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {  # page of the site: file of the project
    "index.md": "README.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "MODEL_ZOO.md": "MODEL_ZOO.md",
}
IMAGES = {f"images/{name}_curve.png": f"checkpoints/{name}/curve.png" for name in ("mini", "photo")}
SITE_PATHS = {path: page for page, path in (PAGES | IMAGES).items()}
LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]*)?(\))")


def on_files(files, config):
    for page, path in (PAGES | IMAGES).items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown, page, config, files):
    folder = ROOT if page.file.src_uri in PAGES else ROOT / "docs"

    def rewritten(link: re.Match[str]) -> str:
        path = (folder / link[2]).resolve().relative_to(ROOT).as_posix()
        if path in SITE_PATHS:
            target = SITE_PATHS[path]
        elif path.startswith("docs/"):
            target = path.removeprefix("docs/")
        else:
            target = f"{config.repo_url}/blob/main/{path}"
        return f"{link[1]}{target}{link[3] or ''}{link[4]}"

    return LINK.sub(rewritten, markdown)
