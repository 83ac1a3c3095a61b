"""Variables are nouns that say what a thing is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SAYS_NOTHING = {"own", "found", "made", "told"}
SOURCES = ["train.py", "eval.py", "ca_seg", "recipes", "benchmarks", "tests"]


def _given_names(tree: ast.AST):
    """The names that a file gives to variables, arguments, attributes and functions, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


@pytest.mark.parametrize("source", SOURCES)
def test_no_name_says_nothing(source):
    path = ROOT / source
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert files
    empty = [
        f"{file.relative_to(ROOT)}:{line}: {name}"
        for file in files
        for name, line in _given_names(ast.parse(file.read_text(encoding="utf-8")))
        if name in SAYS_NOTHING
    ]
    assert not empty
