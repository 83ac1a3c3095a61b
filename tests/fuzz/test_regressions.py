"""What fuzzing brought up: each kind once, with the exact outcome that is right."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import struct
import sys
import tarfile
import tempfile
import zlib

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from ca_seg.backbones.families.registry import find_family
from ca_seg.backbones.loading.partial import build
from ca_seg.bounded_files import MAX_DEPTH, MAX_VALUES, parse_json, parse_yaml, read_json, read_text
from ca_seg.cli.config import chain, read_config
from ca_seg.data.benchmarks.official import pairs_of
from ca_seg.data.catalogue import open_dataset
from ca_seg.data.formats import coco_json
from ca_seg.data.read import read_image
from ca_seg.errors import LONGEST, BadDataset, CorruptWeights, UnreadableImage, UserError
from ca_seg.heads.trained import load_head
from ca_seg.jobs.compare import compare
from ca_seg.labelling.manifest import read_entries
from ca_seg.methods.vit.ibot import read_ibot
from ca_seg.output_files import check_apart
from ca_seg.vocabulary import Vocabulary
from ca_seg.vocabulary_file import read_vocabulary
from tests.fuzz.damage_bytes import CANARY, Runs
from tests.fuzz.of_data import write_dicts, write_hugging_face, write_image_folder, write_shard
from tests.fuzz.of_runs import write_manifest, write_results
from tests.fuzz.of_weights import write_head
from tests.small_models import small_model


def billion_laughs(merged: bool) -> str:
    """Ten levels, each with the former one ten times."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, 10):
        many = ", ".join([f"*a{level - 1}"] * 10)
        lines.append(f"a{level}: &a{level} " + (f"{{<<: [{many}]}}" if merged else f"[{many}]"))
    return "\n".join(lines)


@pytest.mark.parametrize("merged", [False, True])
def test_aliases_count_as_what_they_stand_for(merged):
    with pytest.raises(ValueError, match=str(MAX_VALUES)):
        parse_yaml(billion_laughs(merged))
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]\nc: {<<: {d: 3}}") == {"a": [1, 2], "b": [[1, 2]] * 2, "c": {"d": 3}}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [*a]", "inside"),
        ("a: &a {b: *a}", "inside"),
        ("[" * 3000, "deep"),
        ("- " * 3000 + "a", "deep"),
        ("a: 0x_", "int"),
        ("a: 2024-02-30", "day"),
        ("a: 1\na: 2", "twice"),
        (f"a: !!python/name:{CANARY}.Canary", "tag"),
        ("a: !!python/object/apply:os.mkdir [x]", "tag"),
    ],
)
def test_yaml_that_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_yaml(text)
    assert "\n" not in str(caught.value)
    assert CANARY not in sys.modules


def test_json_is_nested_to_a_bound():
    deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deepest), separators=(",", ":")) == deepest
    for text in (f"[{deepest}]", "[" * 100_000 + "]" * 100_000, '{"a":' * 101 + "1" + "}" * 101):
        with pytest.raises(ValueError, match=str(MAX_DEPTH)):
            parse_json(text)
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(ValueError, match=r"'a'.*twice"):
        parse_json('{"a": 1, "a": 2}', unique_keys=True)


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.json").write_text('{"a": "é"}', encoding="utf-8-sig")
    assert read_json(tmp_path / "a.json") == {"a": "é"}


def test_pipes_and_folders_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder").mkdir()
    for name in ("pipe.png", "folder"):
        with pytest.raises(ValueError, match=r"pipe|folder"):
            read_text(tmp_path / name)
    with pytest.raises(UnreadableImage, match="pipe"):
        read_image(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="pipe"):
        read_vocabulary(tmp_path / "pipe.png")


@pytest.mark.parametrize(
    "text",
    [f"trainer: {{strategy: {{class_path: {CANARY}.Canary}}}}", f"model: [{{a: {{class_path: {CANARY}.Canary}}}}]"],
)
def test_a_config_names_no_class(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=f"{CANARY}.Canary"):
        read_config(tmp_path / "config.yaml")
    assert CANARY not in sys.modules


def test_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    (tmp_path / "outside").mkdir()
    (tmp_path / "case").mkdir()
    monkeypatch.chdir(tmp_path / "case")
    torch.save({"state_dict": Runs()}, tmp_path / "case" / "a.pth")
    with pytest.raises(CorruptWeights):
        read_ibot(tmp_path / "case" / "a.pth")
    assert not list((tmp_path / "outside").iterdir())


@pytest.mark.parametrize("content", ["a tar file", "cut", "zeros"])
def test_a_checkpoint_that_is_none_is_one_error_and_nothing_is_unpacked(tmp_path, monkeypatch, content):
    file, temporary = tmp_path / "a.pth", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    folders = []
    monkeypatch.setattr(tempfile, "mkdtemp", lambda *_, **__: folders.append(1) or str(temporary))
    torch.save({"state_dict": {"pos_embed": torch.rand(1, 5, 64)}}, file)
    if content == "a tar file":
        with tarfile.open(file, "w") as tar:
            tar.addfile(tarfile.TarInfo("storages"))
    else:
        file.write_bytes(bytes(1000) if content == "zeros" else file.read_bytes()[:700])
    with pytest.raises(CorruptWeights, match=r"a\.pth"):
        read_ibot(file)
    assert not folders


@pytest.mark.parametrize("value", [[None], "x", -1, 1e400])
def test_a_config_that_describes_no_model_is_one_error(value):
    family = find_family("flux")
    config = dict(small_model(family).config)
    assert build(family, config) is not None
    for name in ("out_channels", "num_layers", "in_channels", "axes_dims_rope"):
        with contextlib.suppress(CorruptWeights):  # some values do describe one
            build(family, config | {name: value})
    with pytest.raises(CorruptWeights, match="FluxTransformer2DModel"):
        build(family, config | {"out_channels": value})


@pytest.mark.parametrize("far", [2.0**63, -1e6, math.nan, math.inf])
def test_a_polygon_with_a_corner_far_away_is_refused(far):
    with pytest.raises(ValueError, match="corner"):
        coco_json._pixels([[0, 0, 4, 0, 4, far]], 6, 8)
    assert coco_json._pixels([[-1, -1, 9, -1, 9, 9, -1, 9]], 6, 8).all()


def test_a_message_is_one_printable_line():
    text = str(UserError("the file 'a\nb\x1b[2J\udcff\u202e é漢' is missing", fix="x" * 20_000))
    assert text.isprintable()
    assert r"a\nb\x1b[2J\udcff\u202e é漢" in text
    assert len(text) <= LONGEST + 1


def test_images_without_a_score_are_compared(tmp_path):
    write_results(tmp_path)
    for name in ("a", "b"):
        content = json.loads((tmp_path / f"{name}.json").read_text())
        content["images"]["val"]["full-vocabulary"]["p3"] = None  # how results.json holds NaN: void throughout
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    rows = {row.protocol: row for row in compare(tmp_path / "a.json", tmp_path / "b.json").rows}
    assert (rows["full-vocabulary"].better, rows["oracle-presence"].better) == (3, 4)
    assert math.isclose(rows["full-vocabulary"].difference, 0.1)


@pytest.mark.parametrize("score", ["0.5", 2, -0.1, True, [0.5]])
def test_a_score_is_a_fraction(tmp_path, score):
    write_results(tmp_path)
    content = json.loads((tmp_path / "b.json").read_text())
    content["images"]["val"]["full-vocabulary"]["p1"] = score
    (tmp_path / "b.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"b\.json"):
        compare(tmp_path / "a.json", tmp_path / "b.json")


@pytest.mark.parametrize(
    "change",
    [
        {"outputs": [2147483648]},
        {"outputs": ["../../x.png"]},
        {"key": "/etc/passwd"},
        {"image": "a/../../b.png"},
        {"confidence": {"cat": 9990}},
        {"presence": float("nan")},
        {"height": 6.0},
        {"area": {"cat": 55}},
        {"seconds": float("inf")},
    ],
)
def test_an_entry_of_a_manifest_is_checked(tmp_path, change):
    write_manifest(tmp_path)
    assert len(list(read_entries(tmp_path / "a.jsonl"))) == 1
    header, line = (tmp_path / "a.jsonl").read_text().splitlines()
    (tmp_path / "a.jsonl").write_text(f"{header}\n{json.dumps(json.loads(line) | change)}\n")
    with pytest.raises(UserError, match=r"a\.jsonl, line 2"):
        list(read_entries(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("body", [b"", b"a\0", b"a\0\0" + zlib.compress(b"x")])
def test_a_png_with_a_broken_colour_profile_is_read_or_unreadable(tmp_path, body):
    stream = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(stream, "PNG")
    content, chunk = stream.getvalue(), b"iCCP" + body
    header = 8 + 25  # the signature and IHDR
    profile = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "a.png").write_bytes(content[:header] + profile + content[header:])
    with contextlib.suppress(UnreadableImage):
        assert read_image(tmp_path / "a.png").mean(dim=(1, 2)).tolist() == [1, 0, 0]


def test_a_zero_byte_in_a_path_is_outside(tmp_path):
    write_dicts(tmp_path)
    entries = json.loads((tmp_path / "dataset.json").read_text())
    entries[0]["sem_seg_file_name"] = "\0"
    (tmp_path / "dataset.json").write_text(json.dumps(entries))
    with pytest.raises(BadDataset, match=r"dataset\.json"):
        open_dataset("sem-seg-dicts", str(tmp_path))


def test_a_name_that_is_too_long_is_missing(tmp_path):
    (tmp_path / "list.txt").write_text("x" * 300 + ".png\n")
    with pytest.raises(BadDataset, match="missing"):
        open_dataset("images", str(tmp_path / "list.txt"))
    with pytest.raises(BadDataset):
        open_dataset("images", "x" * 5000)
    with pytest.raises(BadDataset, match="missing"):
        pairs_of(["x" * 300], tmp_path, ".jpg", tmp_path, ".png")


def test_arrow_files_with_broken_offsets_are_refused(tmp_path):
    """Arrow itself reads wherever they point, and the process ends."""
    write_hugging_face(tmp_path)
    file = next(tmp_path.glob("*.arrow"))
    content = file.read_bytes()
    starts = [(at, struct.unpack("<3i", content[at : at + 12])) for at in range(0, len(content) - 12, 4)]
    offsets = [at for at, (zero, one, two) in starts if zero == 0 < one and two == 2 * one]  # of two equal rows
    assert len(offsets) == 2  # images and masks
    for at in offsets:
        file.write_bytes(content[: at + 4] + struct.pack("<i", 2**30) + content[at + 8 :])
        with pytest.raises(BadDataset, match="offset"):
            open_dataset("hugging-face", str(tmp_path))


def test_a_link_to_itself_is_an_image_that_cannot_be_read(tmp_path):
    write_image_folder(tmp_path)
    (tmp_path / "a" / "2.png").symlink_to("2.png")
    dataset = open_dataset("images", str(tmp_path))
    assert len(dataset) == 3
    with pytest.raises(UnreadableImage, match=r"2\.png"):
        dataset[2]
    (tmp_path / "other").mkdir()
    check_apart(tmp_path / "a" / "2.png", tmp_path / "other")
    (tmp_path / "config.yaml").symlink_to("config.yaml")
    with pytest.raises(UserError, match=r"config\.yaml"):
        chain(tmp_path / "config.yaml")


def test_sparse_members_are_refused(tmp_path):
    write_shard(tmp_path)
    stream = io.BytesIO()
    Image.new("RGB", (4, 4)).save(stream, "PNG")
    for pax in ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}, {"GNU.sparse.map": "0,9", "GNU.sparse.size": "9"}):
        with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            member = tarfile.TarInfo("a.png")
            member.size, member.pax_headers = len(stream.getvalue()), pax
            tar.addfile(member, io.BytesIO(stream.getvalue()))
        with pytest.raises(BadDataset, match=r"0\.tar"):
            open_dataset("webdataset", str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"phrases": [[1], ["grass"]]},
        {"phrases": "cat"},
        {"maps": [2]},
        {"maps": 6},
        {"channels": 10**12},
        {"channels": "5"},
        {"stride": 0},
        {"readout": {"layers": ["a"]}},
        {"options": 1},
        {"head": CANARY},
    ],
)
def test_the_config_of_a_head_is_checked_before_memory_is_taken(tmp_path, change):
    write_head(tmp_path, kind="linear")
    load_head(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(CorruptWeights):
        load_head(tmp_path)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_of_a_head_are_finite(tmp_path, value):
    write_head(tmp_path, kind="linear")
    state = load_file(tmp_path / "model.safetensors")
    name = next(name for name, tensor in state.items() if tensor.is_floating_point())
    state[name].view(-1)[0] = value
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CorruptWeights, match="finite"):
        load_head(tmp_path)


def test_a_head_whose_results_are_no_numbers_says_so(tmp_path):
    write_head(tmp_path, kind="linear")
    head = load_head(tmp_path)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(3e38)
    with pytest.raises(CorruptWeights, match="not numbers"):
        head(torch.tensor([1.0, -1, 1, 1, -1]).view(1, 5, 1, 1).expand(1, 5, 2, 2), (4, 4))


def test_words_are_text():
    with pytest.raises(UserError, match="1"):
        Vocabulary(("cat", 1), (("cat",), ("dog",)))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="None"):
        Vocabulary(("cat",), ((None,),))  # type: ignore[arg-type]
