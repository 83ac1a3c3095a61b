"""The table of commands: help, version, unknown names, and commands that load no heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ca_seg
from ca_seg.backbones.loading.card import find_card
from ca_seg.cli.main import COMMANDS, main
from tests.cli.commands import ROOT


def test_the_package_is_a_command():
    command = [sys.executable, "-m", "ca_seg", "--help"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(name in process.stdout for name in COMMANDS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert ca_seg.__version__ in capsys.readouterr().out


def test_an_unknown_command_names_close_matches(capsys):
    assert main(["evel"]) == 2
    assert "'eval'" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 3


def test_a_reader_that_has_gone_is_no_error():
    code = "from ca_seg.cli.main import main; import sys; sys.exit(main(['zoo', 'list']))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1


@pytest.mark.parametrize("problem", [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")])
def test_too_little_memory_is_one_line(problem, monkeypatch, capsys):
    monkeypatch.setattr("ca_seg.cli.zoo.run", lambda arguments: (_ for _ in ()).throw(problem))
    assert main(["zoo", "list"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_other_errors_are_not_hidden(monkeypatch):
    monkeypatch.setattr("ca_seg.cli.zoo.run", lambda arguments: {}["no such key"])
    with pytest.raises(KeyError):
        main(["zoo", "list"])


def test_lists_need_neither_torch_nor_diffusers():
    code = (
        "import sys; from ca_seg.cli.main import main; main(['zoo', 'list']); main(['data', 'list']);"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_zoo_and_data(capsys):
    assert main(["zoo", "list"]) == 0
    assert "flux1-schnell" in capsys.readouterr().out
    assert main(["zoo", "show", "mini-plain"]) == 0
    assert find_card("mini-plain").summary in " ".join(capsys.readouterr().out.split())
    assert main(["zoo", "show", "minni"]) == 2
    assert "'mini'" in capsys.readouterr().err
    assert main(["data", "list"]) == 0
    assert "scenes" in capsys.readouterr().out
    assert main(["data", "path", "scenes"]) == 0
    folder = Path(capsys.readouterr().out.strip())
    assert (folder / "images").is_dir()
    assert (folder / "masks").is_dir()
