"""Imports go one way: each layer may use only the layers before it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import ca_seg

ROOT = Path(__file__).parents[1]
LAYERS = (
    ("errors", "quiet"),
    (
        "vocabulary",
        "bounded_files",
        "output_files",
        "resources",
        "atomic",
        "folder_lock",
        "fingerprint",
        "versions",
        "optional",
        "pretrained",
        "thread_pool",
        "seed_range",
    ),
    ("vocabulary_file", "json_file", "pixels", "captioner"),
    ("concept",),
    ("backbones", "data", "metrics", "visual"),  # these do not import each other
    ("features", "cross_attention", "editing"),
    ("baselines", "heads"),
    ("predictors",),
    ("methods",),
    ("refine", "decision"),
    ("confidence",),
    ("tasks", "labelling"),
    ("review_page", "adapters", "zoo"),
    ("evaluation",),
    ("jobs",),
    ("annotation",),
    ("viewer",),
    ("cli",),
    ("__init__", "__main__"),
)
RANK = {name: number for number, layer in enumerate(LAYERS) for name in layer}


def _modules() -> list[tuple[Path, str]]:
    files = sorted((ROOT / "ca_seg").rglob("*.py"))
    return [(file, file.relative_to(ROOT / "ca_seg").parts[0].removesuffix(".py")) for file in files]


def _imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ca_seg."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("ca_seg.")}
    return names


def test_each_part_has_a_layer():
    assert {part for _, part in _modules()} <= set(RANK)


def test_imports_go_one_way():
    wrong = [
        f"{file.relative_to(ROOT)} imports {imported}"
        for file, part in _modules()
        for imported in _imported(file)
        if imported != part and RANK[imported] >= RANK[part]
    ]
    assert not wrong


def test_the_vocabulary_needs_no_torch():
    code = "import sys, ca_seg; ca_seg.Vocabulary.from_names(['cat']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_commands_help_and_the_zoo_need_no_torch():
    code = "import sys; from ca_seg.cli.main import main; main(['zoo', 'list']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_files_are_short_and_names_are_specific():
    long = [str(f) for f, _ in _modules() if len(f.read_text(encoding="utf-8").splitlines()) > 300]
    vague = [str(f) for f, _ in _modules() if re.search(r"utils|helper|misc|common|manager|factory", f.stem)]
    assert not long + vague


def test_no_public_name_is_a_module_too() -> None:
    """An import of `ca_seg.NAME` anywhere would put the module in the place of the function."""
    modules = {name for _, name in _modules()}
    assert not modules & set(ca_seg.__all__)
