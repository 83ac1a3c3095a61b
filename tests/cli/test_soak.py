"""The soak in small: nothing is lost, doubled or wrong with odd pictures, kills, a full and a slow disk."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.cli.commands import ROOT


@pytest.mark.slow
def test_a_small_soak_loses_and_doubles_nothing(tmp_path):
    command = [sys.executable, "benchmarks/soak.py", "--pictures", "240", "--every", "120"]
    options = ["--folder", str(tmp_path / "soak"), "--json", str(tmp_path / "soak.json")]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    report = json.loads((tmp_path / "soak.json").read_text())
    counts, must_be = report["counts"], report["must_be"]
    assert (counts["labelled"], counts["skipped"]) == (must_be["labelled"], must_be["skipped"]), report
    assert {name: counts[name] for name in ("lost", "doubled", "wrong", "tracebacks")} == dict.fromkeys(
        ("lost", "doubled", "wrong", "tracebacks"), 0
    ), report
    assert done.returncode == 0, done.stderr[-2000:]
