"""Where detectron2 is not installed, the adapter raises an error that says how to install it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import importlib, sys
sys.modules["detectron2"] = None  # as if it were not installed
import ca_seg.adapters.normalised
from ca_seg.errors import UserError
for module in ("", ".config", ".backbone", ".data"):
    try:
        importlib.import_module("ca_seg.adapters.detectron2" + module)
    except UserError as problem:
        print(problem.what, problem.fix, sep=" | ")
"""


def test_the_adapter_names_the_missing_library():
    process = subprocess.run(
        [sys.executable, "-c", CODE], cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    )
    lines = process.stdout.splitlines()
    assert len(lines) == 4
    assert all("detectron2" in line and "docs/detectron2.md" in line for line in lines)
