"""The commands that renew the figures of the pages: they exist, and tables go where their pages have marks."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from ca_seg.errors import UserError
from recipes import readers_table
from recipes.mini import results_page
from recipes.page import fill

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("makefile", ["recipes/mini/Makefile", "recipes/photo_jobs/Makefile"])
def test_every_command_of_a_makefile_names_what_exists(makefile, tmp_path):
    variables = ["MSRC=/data/msrc", "COCO=/data/coco", f"OUT={tmp_path}"]
    printed = subprocess.run(
        ["make", "-n", "-B", "-f", makefile, *variables], cwd=ROOT, check=True, capture_output=True, text=True
    )
    commands = [shlex.split(line) for line in printed.stdout.splitlines() if "python" in line]
    assert len(commands) >= 8
    for command in commands:
        if "-m" in command:
            assert importlib.util.find_spec(command[command.index("-m") + 1]), command
        for argument in command:
            if argument.endswith((".yaml", ".py")):
                assert (ROOT / argument).is_file(), command
        options = dict(itertools.pairwise(command))
        name = options.get("--dataset", options.get("--data"))
        if "--page" in options and name is not None:
            assert f"<!-- {name} -->\n" in (ROOT / options["--page"]).read_text(encoding="utf-8")


def test_pages_have_the_marks_that_the_tables_need():
    marks = {"docs/results.md": {"figures", "refinement", "photographs"}, "docs/methods.md": {"readers"}}
    for page, names in marks.items():
        content = (ROOT / page).read_text(encoding="utf-8")
        assert names <= set(re.findall(r"<!-- ([a-z]+) -->\n\|", content))


def test_the_readers_table_takes_each_row_from_its_ablation(tmp_path):
    for number, name in enumerate(("mini", "photo")):
        tables: dict = {}
        for index, (part, row) in enumerate(readers_table.ROWS.values()):
            tables.setdefault(part, {})[row] = {"oracle_miou": index / 100, "full_miou": number / 10}
        (tmp_path / name).mkdir()
        (tmp_path / name / "ablation.json").write_text(json.dumps({"tables": tables}))
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- readers -->\nold\n<!-- end -->\nafter\n")
    loaded = {n: json.loads((tmp_path / n / "ablation.json").read_text())["tables"] for n in ("mini", "photo")}
    fill(page, "readers", readers_table.readers_table(loaded))
    lines = page.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    assert "| `seg4diff` | 2.0 | 0.0 | 2.0 | 10.0 |" in lines
    assert len(lines) == 4 + 2 + len(readers_table.ROWS)


def test_the_tables_of_results_show_both_protocols(tmp_path):
    figures = {
        protocol: {"miou": value, "pixel_accuracy": 0.9, "map": 0.8, "boundary_iou": 0.5}
        for protocol, value in (("oracle-presence", 0.7), ("full-vocabulary", 0.6))
    }
    for setting in results_page.SETTINGS.values():
        (tmp_path / setting).mkdir()
        (tmp_path / setting / "results.json").write_text(json.dumps({"splits": {"in_distribution": figures}}))
    lines = results_page.refinement_table({"splits": {"in_distribution": figures}}, tmp_path).splitlines()
    assert lines[-1] == "| the flipped image | 70.0 | 90.0 | 80.0 | 50.0 | 60.0 | 90.0 | 80.0 | 50.0 |"
    assert len(lines) == 3 + len(results_page.SETTINGS)
    photographs = results_page.photographs_table({"methods": {"mini": {"dev": figures}}})
    assert photographs.splitlines()[-1] == "| mini | 70.0 | 90.0 | 80.0 | 60.0 | 90.0 | 80.0 |"


def test_a_table_without_its_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["readers_table", f"mini={tmp_path}"])
    with pytest.raises(UserError, match="ablate"):
        readers_table.main()
