"""The one dialect of flags: short names, dashes, lists without brackets, yes-or-no options, former names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ca_seg.cli.config import present_options
from ca_seg.cli.kinds import options_of
from ca_seg.cli.options import Dialect
from ca_seg.cli.parser import BATCHES, JobParser
from ca_seg.errors import UserError
from ca_seg.jobs.train_head import TrainingSettings


@dataclass(frozen=True)
class Model:
    """A model.

    Args:
        backbone: its name
        layers: which
        noise_samples: how many
    """

    backbone: str = "mini"
    layers: tuple[int, ...] | None = None
    noise_samples: int = 1


@dataclass(frozen=True)
class Data:
    """Images.

    Args:
        root: where
        splits: parts
    """

    root: str | None = None
    splits: list[str] | None = None


@dataclass(frozen=True)
class Job:
    """A job.

    Args:
        model: which model
        data: which images
        report: make a page
        limits: by name
        words: what to look for
        seed: of the noise
        synonyms: by word
    """

    model: Model = field(default_factory=Model)
    data: Data = field(default_factory=Data)
    report: bool = True
    limits: dict[str, float] | None = None
    words: tuple[str, ...] = ()
    seed: int = 0
    synonyms: dict[str, list[str]] | None = None


@dataclass(frozen=True)
class TrainerJob:
    """A job with Lightning's Trainer.

    Args:
        trainer: its arguments
    """

    trainer: dict[str, Any] = field(default_factory=dict)


def parse(*arguments: str) -> Job:
    return JobParser("job", "A job.", Job).parse(arguments)


def test_options_of_nested_settings():
    assert list(options_of(Job)) == [
        "model.backbone", "model.layers", "model.noise_samples", "data.root", "data.splits", "report", "limits",
        "words", "seed", "synonyms",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model.backbone", "a"], Job(model=Model("a"))),
        (["--backbone", "a"], Job(model=Model("a"))),
        (["--backbone=a", "--seed=3"], Job(model=Model("a"), seed=3)),
        (["--layers", "2", "3"], Job(model=Model(layers=(2, 3)))),
        (["--model", "a"], Job(model=Model("a"))),
        (["--model", "{backbone: a, layers: [2]}"], Job(model=Model("a", (2,)))),
        (["--model.layers", "[2, 3]"], Job(model=Model(layers=(2, 3)))),
        (["--splits", "val"], Job(data=Data(splits=["val"]))),
        (["--data.splits", "[val, test]"], Job(data=Data(splits=["val", "test"]))),
        (["--splits", "val", "test", "--seed", "1"], Job(data=Data(splits=["val", "test"]), seed=1)),
        (["--limits", "a=0.5", "b=1", "--seed", "2"], Job(limits={"a": 0.5, "b": 1}, seed=2)),
        (["--synonyms", "cat=kitten,kitty", "dog=puppy"], Job(synonyms={"cat": ["kitten", "kitty"], "dog": ["puppy"]})),
        (["--limits", "{a: 0.5}"], Job(limits={"a": 0.5})),
        (["--no-report"], Job(report=False)),
        (["--report"], Job(report=True)),
        (["--report", "false"], Job(report=False)),
        (["--noise-samples", "2"], Job(model=Model(noise_samples=2))),
        (["--model.noise_samples", "2"], Job(model=Model(noise_samples=2))),
        (["--words", "cat", "10", "--seed", "-7"], Job(words=("cat", "10"), seed=-7)),
    ],
)
def test_ways_of_writing_an_option(arguments: list[str], expected: Job):
    assert parse(*arguments) == expected


def test_a_former_name_is_accepted_with_a_note_of_one_line(capsys):
    assert parse("--model.samples", "4").model.noise_samples == 4
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert "noise_samples" in note


def test_former_keys_of_a_config_file(capsys):
    content: dict[str, Any] = {"model": {"samples": 2}, "data": {"name": "pictures"}, "keeping": {"keep": "best"}}
    options = dict.fromkeys(["model.noise_samples", "data.name", "checkpoint.keep"], str)
    assert present_options(content, Dialect(options), Path("job.yaml")) == {
        "model": {"noise_samples": 2}, "data": {"name": "images"}, "checkpoint": {"keep": "best"}
    }  # fmt: skip
    assert capsys.readouterr().err.count("\n") == 3


@dataclass(frozen=True)
class SingleSplit:
    """Images of one split.

    Args:
        split: its name
    """

    split: str | None = None


@dataclass(frozen=True)
class SingleSplitJob:
    """A job on one split.

    Args:
        data: which images
    """

    data: SingleSplit = field(default_factory=SingleSplit)


def test_a_list_of_one_split_where_a_job_takes_one_split(tmp_path):
    (tmp_path / "job.yaml").write_text("data: {splits: [val]}\n")
    config = ["--config-file", str(tmp_path / "job.yaml")]
    for arguments in (["--data.splits", "[val]"], ["--splits=['val']"], ["--split", "val"], config):
        assert JobParser("job", "A job.", SingleSplitJob).parse(arguments).data.split == "val"
    with pytest.raises(UserError, match=r"data\.split"):
        JobParser("job", "A job.", SingleSplitJob).parse(["--data.splits", "[train, val]"])


def test_a_config_file_and_its_base(tmp_path):
    (tmp_path / "base.yaml").write_text("model: {backbone: a, layers: [1]}\nseed: 5\n")
    (tmp_path / "job.yaml").write_text("base: base.yaml\nmodel: {layers: [2]}\n")
    file = str(tmp_path / "job.yaml")
    assert parse("--config-file", file) == Job(model=Model("a", (2,)), seed=5)
    assert parse("--config-file", file, "--layers", "7") == Job(model=Model("a", (7,)), seed=5)
    assert parse(f"--config_file={file}").seed == 5


@pytest.mark.parametrize(
    ("content", "value"),
    [("- 1\n", "job.yaml"), ("base: 5\n", "5"), ("base: job.yaml\n", "job.yaml"), ("a: [\n", "job.yaml")],
)
def test_a_config_that_cannot_be_read(tmp_path, content: str, value: str):
    (tmp_path / "job.yaml").write_text(content)
    with pytest.raises(UserError, match=value):
        parse("--config-file", str(tmp_path / "job.yaml"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", Job()),
        ("model:\nseed: 5\n", Job(seed=5)),
        ("model: a\n", Job(model=Model("a"))),
        ("backbone: a\nroot: there\n", Job(model=Model("a"), data=Data("there"))),
        ("words: cat\nmodel: {layers: 3}\n", Job(words=("cat",), model=Model(layers=(3,)))),
        ("synonyms: {cat: [kitten]}\nlimits: {a: 1.5}\n", Job(synonyms={"cat": ["kitten"]}, limits={"a": 1.5})),
    ],
)
def test_ways_of_writing_a_config_file(tmp_path, content: str, expected: Job):
    (tmp_path / "job.yaml").write_text(content)
    assert parse("--config-file", str(tmp_path / "job.yaml")) == expected


@pytest.mark.parametrize(
    ("content", "name"),
    [("data: 7\n", "7"), ("model: [1]\n", "model.layers"), ("nosuch: 3\n", "nosuch"), ("1: 5\n", "1"),
     ("data: {nosuch: 1}\n", "data.nosuch"), ("seed: abc\n", "abc"), ("limits: 5\n", "limits"),
     ("model: {backbone: 7}\n", "model.backbone")],
)  # fmt: skip
def test_a_config_file_whose_values_do_not_fit(tmp_path, content: str, name: str):
    (tmp_path / "job.yaml").write_text(content)
    with pytest.raises(UserError) as caught:
        parse("--config-file", str(tmp_path / "job.yaml"))
    assert name in str(caught.value)
    assert len(str(caught.value)) < 250


def test_a_config_file_with_groups_for_a_command_without_them():
    options = {"backbone": str, "refine": tuple[str, ...], "threshold": float | dict[str, float] | None}
    content = {"model": {"backbone": "a"}, "refine": {"steps": ["pamr"]}, "threshold": {"cat": 0.5}}
    expected = {"backbone": "a", "refine": ["pamr"], "threshold": {"cat": 0.5}}
    assert present_options(content, Dialect(options), Path("job.yaml")) == expected


def test_a_config_that_is_a_folder(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        parse("--config-file", str(tmp_path))


@pytest.mark.parametrize(
    ("written", "value", "expected"),
    [
        ("data", "scenes", {"data.name": "scenes"}),
        ("data", "FOLDER", {"data.name": "images", "data.root": "FOLDER"}),
        ("refine", "pamr", {"refine.steps": "pamr"}),
        ("device", "cuda:1", {"trainer.accelerator": "cuda", "trainer.devices": [1]}),
        ("device", "cpu", {"trainer.accelerator": "cpu"}),
    ],
)
def test_what_one_option_stands_for(tmp_path, written: str, value: str, expected: dict[str, Any]):
    value, folder = value.replace("FOLDER", str(tmp_path)), str(tmp_path)
    expected = {name: folder if part == "FOLDER" else part for name, part in expected.items()}
    dialect = Dialect({"data.name": str, "data.root": str, "refine.steps": list[str]}, trainer=True, folder="images")
    assert dict(dialect.assigned(dialect.full_name(written)[0], value)) == expected


def test_an_unknown_option_names_close_matches():
    with pytest.raises(UserError) as caught:
        parse("--bakcbone", "mini")
    assert "--backbone" in caught.value.allowed


@pytest.mark.parametrize("arguments",
    [["--seed", "x"], ["stray"], ["--model.layers", "[a]"], ["--seed"], ["--layers", "a"], ["--words"], ["--see", "3"],
     ["--seed", "--report"], ["--config-file"], ["--synonyms", "{cat: kitten}"]],
)  # fmt: skip
def test_values_of_the_wrong_type(arguments: list[str]):
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    assert "class '" not in str(caught.value)  # no names of Python types


def test_a_value_of_the_wrong_type_is_named_with_what_is_allowed():
    with pytest.raises(UserError) as caught:
        parse("--noise-samples", "many")
    assert "model.noise_samples" in caught.value.what
    assert "many" in caught.value.what
    assert "number" in caught.value.allowed


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], {}),
        (["--trainer.devices", "1", "--device", "auto"], {}),
        (["--trainer.devices", "auto"], {"devices": "auto"}),
        (["--device", "cpu", "--trainer.max_epochs", "3"], {"accelerator": "cpu", "max_epochs": 3}),
    ],
)
def test_trainer_options_that_differ_from_the_defaults_of_jobs(arguments: list[str], expected: dict[str, Any]):
    assert JobParser("job", "A job.", TrainerJob).parse(arguments).trainer == expected


def test_positional_arguments_are_separated():
    dialect = Dialect(options_of(Job))
    options, positional = dialect.rewrite(["a.jpg", "--layers", "2", "3", "b.jpg", "--no-report", "cat", "-"])
    assert positional == ["a.jpg", "b.jpg", "cat", "-"]
    assert options == ["--model.layers", "[2, 3]", "--report", "false"]


def test_the_head_of_train_may_be_named_as_in_python():
    options, _ = Dialect(options_of(TrainingSettings), trainer=True).rewrite(["--head", "smp"])
    assert options == ["--model.kind", "smp"]


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize(("text", "kind"), [("1", int), ("3", int), ("1.0", float), ("0.5", float)])
def test_one_batch_is_not_all_batches(tmp_path, name, text, kind):
    parser = JobParser("ca-seg train", "", TrainingSettings)
    config = tmp_path / "config.yaml"
    config.write_text(f"trainer:\n  {name}: {text}\n")
    for arguments in ([f"--trainer.{name}", text], ["--config-file", str(config)]):
        value = parser.parse(arguments).trainer.get(name, 1.0)  # what is the default is not passed on
        assert (value, type(value)) == (kind(text), kind)
