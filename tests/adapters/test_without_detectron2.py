"""Where detectron2 is not installed, the adapter says what is missing and everything else works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CODE = """
import sys
sys.modules["detectron2"] = None  # as if it were not installed
import ca_seg.adapters.normalised
from ca_seg.errors import UserError
try:
    import ca_seg.adapters.detectron2.config
except UserError as problem:
    print(problem)
"""


def test_the_adapter_says_what_is_missing():
    found = subprocess.run(
        [sys.executable, "-c", CODE], cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    )
    assert found.stdout.startswith("the adapter needs detectron2 (")
    assert "docs/detectron2.md" in found.stdout
