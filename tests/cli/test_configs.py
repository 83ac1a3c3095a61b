"""Each shipped config is accepted by its command, and its comment says how to run it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ca_seg.cli import ablate, evaluate, train

CONFIGS = Path(__file__).parents[2] / "configs"
COMMANDS = {
    "zero_shot": ("python eval.py", evaluate.run),
    "trained": ("python eval.py", evaluate.run),
    "linear_probe": ("python train.py", train.run),
    "heads": ("python train.py", train.run),
    "ablation": ("ca-seg ablate", ablate.run),
}
FILES = [file for folder in COMMANDS for file in sorted((CONFIGS / folder).glob("*.yaml"))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_config_is_accepted_and_says_how_to_run_it(file, capsys):
    script, command = COMMANDS[file.parent.name]
    with pytest.raises(SystemExit) as stop:
        command(["--config-file", str(file), "--print_config"])
    assert stop.value.code == 0
    assert "backbone:" in capsys.readouterr().out
    assert f"{script} --config-file configs/{file.parent.name}/{file.name}" in file.read_text()
