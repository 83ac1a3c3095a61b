"""The documentation site builds without a warning, and fetches nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT

QUIET = {"NO_MKDOCS_2_WARNING": "1"}  # an advertisement for a successor

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install 'ca-seg[docs]'")
pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed: pip install 'ca-seg[docs]'")
pytest.importorskip("material", reason="mkdocs-material is not installed: pip install 'ca-seg[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | QUIET)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_pages_are_there(site):
    for page in ("index.html", "api/index.html", "glossary/index.html", "CHANGELOG/index.html", "MODEL_ZOO/index.html"):
        assert (site / page).is_file()


def test_the_public_names_are_documented(site):
    import ca_seg

    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    missing = [name for name in ca_seg.__all__ if not re.search(rf'id="[\w.]*\.{name}"', text)]
    assert missing == ["__version__"]


def test_nothing_is_fetched_from_elsewhere(site):
    fetched = re.compile(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:)?//[^"]*"')
    for page in site.rglob("*.html"):
        assert not fetched.search(page.read_text(encoding="utf-8")), page
