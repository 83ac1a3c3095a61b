"""Imports are declared as dependencies, and a missing extra is one clear error. .ci/wheel checks the wheel."""

from __future__ import annotations

import ast
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ca_seg.optional import BUILDS_ON, EXTRAS, JOBS, MissingExtra, optional_imports
from ca_seg.quiet import NOISE

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 has no TOML reader")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {  # the distribution of an import, where the names differ
    "PIL": "pillow",
    "av": "av",
    "cv2": "opencv-python-headless",
    "lightning_fabric": "pytorch-lightning",  # a dependency of it, of the same authors and version
    "lightning_utilities": "pytorch-lightning",
    "open_clip": "open-clip-torch",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
HEAVY = {"fiftyone"}  # extras that neither `all` nor `dev` include
ON_NO_INDEX = {"detectron2"}  # docs/detectron2.md says how it is installed


def _distribution(module: str) -> str:
    return DISTRIBUTIONS.get(module, module).replace("_", "-").lower()


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", requirement)[0].replace("_", "-").lower() for requirement in requirements}


def _extra(name: str) -> set[str]:
    """The distributions that an extra installs, with those of the extras that it builds on."""
    result: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][name]:
        inner = re.fullmatch(r"ca-seg\[(.*)\]", requirement)
        result |= set().union(*map(_extra, inner[1].split(","))) if inner else _names([requirement])
    return result


def _imports() -> set[str]:
    names = set()
    for file in (ROOT / "ca_seg").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"ca_seg"}


CORE = _names(PROJECT["dependencies"])


def test_imports_are_declared():
    undeclared = {name for name in _imports() - ON_NO_INDEX if name not in EXTRAS and _distribution(name) not in CORE}
    assert not undeclared


@pytest.mark.parametrize("module", EXTRAS)
def test_the_extra_of_a_library_installs_it(module):
    assert _distribution(module) in _extra(EXTRAS[module])
    assert _distribution(module) not in CORE


def test_the_extra_of_a_job_installs_the_extras_it_builds_on():
    assert set(BUILDS_ON) >= set(JOBS.values())
    for name, parts in BUILDS_ON.items():
        assert all(_extra(part) <= _extra(name) for part in parts)


def test_all_and_dev_include_each_extra_for_users():
    for name in set(PROJECT["optional-dependencies"]) - {"docs", "dev", "recipes"} - HEAVY:
        assert _extra(name) <= _extra("all") <= _extra("dev")


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtra) as caught, optional_imports("a video"):
        import av  # noqa: F401
    assert "av" in caught.value.what
    assert "ca-seg[video]" in caught.value.fix
    assert isinstance(caught.value, ImportError)


def test_an_import_that_no_extra_installs_stays_an_import_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "no_such_library", None)
    with pytest.raises(ModuleNotFoundError) as caught, optional_imports("a job"):
        import no_such_library  # noqa: F401
    assert not isinstance(caught.value, MissingExtra)


WITHOUT_EXTRAS = """
import sys
from tests.hidden_packages import hide
from ca_seg.optional import EXTRAS
hide(EXTRAS)
from ca_seg.cli.main import main
for command in ("eval", "train", "label", "video-eval"):
    assert main([command]) == 2, command
assert main(["data", "list"]) == 0
sys.exit(main(["segment", *sys.argv[1:]]))
"""


@pytest.mark.slow
def test_segment_needs_no_extra_and_the_others_name_theirs(tmp_path):
    image = ROOT / "datasets" / "scenes" / "images" / "scene_0000.png"
    command = [sys.executable, "-c", WITHOUT_EXTRAS, str(image), "--concepts", "cat", "grass", "--out", str(tmp_path)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert len(list(tmp_path.glob("*mask*.png"))) == 1
    errors = [line for line in process.stderr.splitlines() if line.startswith("error:")]
    assert [re.search(r"pip install 'ca-seg\[(\w+)\]'", line)[1] for line in errors] == [
        "eval",
        "train",
        "label",
        "video",
    ]


def test_only_the_named_messages_are_silenced(caplog):
    """By importing ca_seg, whatever of it is used."""
    for name, words in NOISE.items():
        with caplog.at_level(logging.WARNING, logger=name):
            logging.getLogger(name).warning("%s and more", words)
            assert not caplog.records
            logging.getLogger(name).warning("another message")
            assert [record.getMessage() for record in caplog.records] == ["another message"]
        caplog.clear()
