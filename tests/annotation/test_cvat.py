"""The functions for CVAT, run by CVAT's own driver and command line, and as nuclio runs them."""

from __future__ import annotations

import base64
import importlib.util
import json
import logging
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageDraw

import ca_seg

pytest.importorskip("cvat_sdk", reason="CVAT's SDK is not installed: pip install 'ca-seg[cvat]'")

from cvat_sdk import models
from cvat_sdk.auto_annotation import BadFunctionError, DetectionFunctionSpec, annotate_task, driver
from cvat_sdk.datasets.common import MediaElement, Sample
from cvat_sdk.masks import decode_mask

from ca_seg.annotation import cvat
from ca_seg.annotation.nuclio import read_phrases
from ca_seg.data.inputs import open_images
from ca_seg.errors import UnknownNames, UserError
from tests.annotation.conftest import WORDS

RECIPE = Path(__file__).parents[2] / "recipes" / "cvat" / "nuclio"
FILES = ("a.jpg", "dogs/b c.png")


class Client(SimpleNamespace):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Media(MediaElement):
    def __init__(self, path: Path) -> None:
        self.path = path

    def load_image(self) -> Image.Image:
        return Image.open(self.path)


@pytest.fixture
def server(folder, monkeypatch):
    """Stands for CVAT's server with a task of two frames: a client, and the list of what is uploaded."""

    def open_task(names=WORDS, types=("any",) * 3) -> tuple[Client, list]:
        labels = [
            models.Label(id=70 + number, name=name, type=kind, attributes=[], sublabels=[])
            for number, (name, kind) in enumerate(zip(names, types, strict=True))
        ]
        samples = [
            Sample(frame_index=number, frame_name=name, annotations=None, media=Media(folder / name))
            for number, name in enumerate(FILES, start=5)
        ]
        dataset = SimpleNamespace(labels=labels, samples=samples)
        monkeypatch.setattr(driver, "TaskDataset", lambda *_, **__: dataset)
        uploads: list = []
        api = SimpleNamespace(
            partial_update_annotations=lambda action, task, patched_labeled_data_request: uploads.append(
                (action, task, patched_labeled_data_request)
            )
        )
        return Client(logger=logging.getLogger("cvat"), tasks=SimpleNamespace(api=api)), uploads

    return open_task


@pytest.fixture
def annotate(server):
    """Runs CVAT's driver over the task; the shapes that it uploads."""

    def run(function, *, types=("any",) * 3, **options) -> list:
        client, uploads = server(types=types)
        annotate_task(client, 42, function, **options)
        ((action, task, request),) = uploads
        assert (action, task, list(request.tags)) == ("create", 42, [])
        return list(request.shapes)

    return run


def expected(folder, name, backbone):
    return ca_seg.segment(folder / name, WORDS, backbone=backbone)


def test_the_driver_uploads_the_masks_of_segment(backbone, folder, annotate):
    function = cvat.create("dog, grass,sky", backbone=backbone)
    assert isinstance(function.spec, DetectionFunctionSpec)
    shapes = annotate(function, types=("mask", "any", "any"))
    for frame, name in enumerate(FILES, start=5):
        result = expected(folder, name, backbone)
        height, width = result.mask.shape
        here = {shape.label_id - 70: shape for shape in shapes if shape.frame == frame}
        assert set(here) == set(np.unique(result.mask))
        for index, shape in here.items():
            mask = decode_mask(shape.points, image_width=width, image_height=height)
            assert (mask == (result.mask == index)).all()
            assert shape.score == pytest.approx(result.confidence[mask].mean(), abs=1e-5)
            assert (shape.type.value, shape.source) == ("mask", "auto")


def test_the_steps_of_the_backbones_card_are_used_unless_others_are_named(folder, annotate):
    photo = ca_seg.load_backbone("photo")
    assert photo.card.refine, "this test needs a card with steps"
    for given, refine in (("", None), ("none", "none"), ("pamr", "pamr")):
        shapes = annotate(cvat.create("dog,grass,sky", backbone=photo, refine=given))
        result = ca_seg.segment(folder / FILES[0], WORDS, backbone=photo, refine=refine)
        here = {shape.label_id - 70: shape for shape in shapes if shape.frame == 5}
        assert set(here) == set(np.unique(result.mask))
        height, width = result.mask.shape
        for index, shape in here.items():
            mask = decode_mask(shape.points, image_width=width, image_height=height)
            assert (mask == (result.mask == index)).all()


def test_parts_polygons_and_the_lowest_score(backbone, folder, annotate):
    parts = annotate(cvat.create("dog,grass,sky", backbone=backbone, per="part"))
    assert len(parts) >= len(annotate(cvat.create("dog,grass,sky", backbone=backbone)))
    polygons = annotate(
        cvat.create("dog,grass,sky", backbone=backbone), conv_mask_to_poly=True, types=("polygon", "any", "polygon")
    )
    for frame, name in enumerate(FILES, start=5):
        result = expected(folder, name, backbone)
        height, width = result.mask.shape
        for index in np.unique(result.mask):
            canvas = Image.new("1", (width, height))
            for shape in polygons:
                if (shape.frame, shape.label_id) == (frame, 70 + index):
                    xy = [value - 0.5 for value in shape.points]
                    ImageDraw.Draw(canvas).polygon(list(zip(xy[::2], xy[1::2], strict=True)), outline=1, fill=1)
            drawn, inside = np.array(canvas), result.mask == index
            assert (drawn & inside).sum() / (drawn | inside).sum() > 0.85
    scores = sorted(shape.score for shape in parts)
    middle = scores[len(scores) // 2]
    some = annotate(cvat.create("dog,grass,sky", backbone=backbone, per="part"), conf_threshold=middle)
    assert sorted(shape.score for shape in some) == [score for score in scores if score >= middle]


def test_background_is_in_no_shape_and_no_label(backbone, annotate, tmp_path):
    function = cvat.create("dog,grass,sky", backbone=backbone, background="water,tree", threshold=0.5, refine="pamr")
    assert [label.name for label in function.spec.labels] == WORDS
    assert {shape.label_id for shape in annotate(function)} <= {70, 71, 72}
    file = tmp_path / "words.yaml"
    file.write_text("classes: [dog, {name: grass, synonyms: [lawn]}, sky]\nbackground: sky\n")
    assert list(cvat.create(vocabulary=str(file), backbone=backbone).labels) == ["dog", "grass"]


def test_cvats_command_line_creates_it(folder):
    common = pytest.importorskip("cvat_cli._internal.common", reason="pip install cvat-cli")
    from cvat_cli._internal.parsers import parse_function_parameter

    given = ("words=str:dog,grass", "backbone=str:mini", "threshold=float:0.4", "per=str:part")
    parameters = dict(map(parse_function_parameter, given))
    function = common.FunctionLoader("ca_seg.annotation.cvat", None, parameters).load()
    assert [label.name for label in function.spec.labels] == ["dog", "grass"]
    with pytest.raises(TypeError, match="nonsense"):
        common.FunctionLoader("ca_seg.annotation.cvat", None, {"words": "dog", "nonsense": 1}).load()


def test_the_commands_of_the_page_run(server, backbone, folder, monkeypatch):
    command_line = pytest.importorskip("cvat_cli.__main__", reason="pip install cvat-cli")
    page = (RECIPE.parents[2] / "docs" / "labelling_tools.md").read_text(encoding="utf-8")
    commands = [shlex.split(line) for line in re.findall(r"^\$ (.*)$", page, re.MULTILINE)]
    annotates, creates, deploys = commands
    client, uploads = server(names=("cat", "grass", "sky"))
    client.check_server_version = lambda **_: None
    registered: list = []

    def call_api(path, method, body):
        registered.append((path, method, body))
        return None, SimpleNamespace(data=json.dumps({"id": 7, "name": body["name"]}))

    client.api_client = SimpleNamespace(default_headers={"User-Agent": ""}, call_api=call_api)
    monkeypatch.setattr("cvat_cli._internal.common.make_client_from_cli", lambda *_, **__: client)
    assert command_line.main([*annotates[1:], "-p", "backbone=str:mini"]) == 0
    ((_, task, request),) = uploads
    assert task == 42
    result = ca_seg.segment(folder / FILES[0], ["cat", "grass", "sky"], backbone=backbone)
    assert {shape.label_id - 70 for shape in request.shapes if shape.frame == 5} == set(np.unique(result.mask))
    assert command_line.main([*creates[1:], "-p", "backbone=str:mini"]) == 0
    ((path, method, body),) = registered
    assert (path, method, body["kind"]) == ("/api/functions", "POST", "detector")
    assert [label["name"] for label in body["labels_v2"]] == ["cat", "grass", "sky"]
    assert (Path(__file__).parents[2] / deploys[deploys.index("--path") + 1] / "function.yaml").is_file()


def test_wrong_words_and_labels_are_refused(backbone, annotate):
    for options in (
        {}, {"words": "dog", "vocabulary": "words.yaml"}, {"vocabulary": "nothing.yaml"}, {"words": "dog", "per": "x"},
        {"words": "dog", "min_area": 2.0}, {"words": "dog", "tolerance": -1.0}, {"words": "dog", "refine": "x"},
    ):  # fmt: skip
        with pytest.raises(UserError):
            cvat.create(**options, backbone=backbone)
    with pytest.raises(UnknownNames, match="qwzx"):
        cvat.create("dog,qwzx,qwzy", backbone=backbone)
    with pytest.raises(BadFunctionError, match="cat"):  # CVAT's word: the task has no such label
        annotate(cvat.create("dog,cat", backbone=backbone))


@pytest.fixture
def nuclio(monkeypatch, tmp_path):
    """The function of the recipe with other labels, started as nuclio's wrapper starts it."""
    sdk = pytest.importorskip("nuclio_sdk", reason="pip install nuclio-sdk")
    text = (RECIPE / "function.yaml").read_text(encoding="utf-8")
    for theirs, ours in {
        '"name": "bus"': '"name": "dog"',
        '"name": "road"': '"name": "grass"',
        '"road", "street"': '"grass"',
    }.items():
        assert theirs in text
        text = text.replace(theirs, ours)
    (tmp_path / "function.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setenv("CA_SEG_FUNCTION", str(tmp_path / "function.yaml"))
    monkeypatch.setenv("CA_SEG_BACKBONE", "mini")
    spec = importlib.util.spec_from_file_location("nuclio_main", RECIPE / "main.py")
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    context = sdk.Context(logger=SimpleNamespace(info=lambda *_: None, warn=lambda *_: None))
    context.user_data = SimpleNamespace()
    main.init_context(context)
    return lambda body: main.handler(context, sdk.Event(body=body))


def test_the_nuclio_function_answers_in_cvats_format(nuclio, backbone, folder):
    content = base64.b64encode((folder / "a.jpg").read_bytes()).decode()
    answer = nuclio({"image": content})
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    result = ca_seg.segment(next(open_images(Image.open(folder / "a.jpg"))).pixels, WORDS, backbone=backbone)
    drawn = np.full(result.mask.shape, 255)
    for item in json.loads(answer.body):
        *inside, left, top, right, bottom = item["mask"]
        pixels = np.array(inside, bool).reshape(bottom - top + 1, right - left + 1)
        assert (drawn[top : bottom + 1, left : right + 1][pixels] == 255).all()
        drawn[top : bottom + 1, left : right + 1][pixels] = WORDS.index(item["label"])
        assert 0 <= float(item["confidence"]) <= 1
        assert len(item["points"]) >= 6
        assert len(item["points"]) % 2 == 0
    assert (drawn == result.mask).all()
    scores = [float(item["confidence"]) for item in json.loads(answer.body)]
    some = json.loads(nuclio({"image": content, "threshold": max(scores)}).body)
    assert [float(item["confidence"]) for item in some] == [max(scores)]


@pytest.mark.parametrize("body", [{}, {"image": "@@"}, {"image": "AAAA"}, b"no JSON", {"image": "", "threshold": "x"}])
def test_a_request_that_cannot_be_used_is_said_in_one_line(nuclio, body):
    answer = nuclio(body)
    assert answer.status_code == 400
    assert len(answer.body.splitlines()) == 1


def _object(required: tuple[str, ...] = (), **properties: object) -> dict:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


TEXT, NUMBER, TEXTS = {"type": "string"}, {"type": "integer"}, {"additionalProperties": {"type": "string"}}
DIRECTIVES = {"type": "array", "items": _object(("kind", "value"), kind=TEXT, value=TEXT)}
# of pkg/functionconfig/types.go in nuclio 1.14, what a Docker platform uses; nuclio ignores other keys
NUCLIO = _object(
    ("metadata", "spec"),
    metadata=_object(("name", "namespace"), name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS),
    spec=_object(
        ("description", "handler", "runtime"),
        description=TEXT,
        handler={"pattern": "^[a-z_]+:[a-z_]+$"},
        runtime={"enum": [f"python:3.{minor}" for minor in (7, 8, 9, 10, 11)]},
        eventTimeout={"pattern": "^[0-9]+(ms|s|m|h)$"},
        env={"type": "array", "items": _object(("name", "value"), name=TEXT, value=TEXT)},
        build=_object(image=TEXT, baseImage=TEXT, directives=_object(preCopy=DIRECTIVES, postCopy=DIRECTIVES)),
        triggers={
            "additionalProperties": _object(
                ("kind",),
                kind=TEXT,
                numWorkers=NUMBER,
                workerAvailabilityTimeoutMilliseconds=NUMBER,
                attributes=_object(maxRequestBodySize=NUMBER, port=NUMBER),
            )
        },
        platform=_object(
            attributes=_object(
                restartPolicy=_object(("name",), name=TEXT, maximumRetryCount=NUMBER),
                mountMode={"enum": ["bind", "volume"]},
                network=TEXT,
            )
        ),
    ),
)


def test_the_recipe_is_a_function_of_cvat():
    """The keys that CVAT's lambda_manager and nuclio's configuration read."""
    import yaml
    from jsonschema import Draft202012Validator

    content = yaml.safe_load((RECIPE / "function.yaml").read_text(encoding="utf-8"))
    Draft202012Validator(NUCLIO).validate(content)
    annotations = content["metadata"]["annotations"]
    assert (annotations["type"], content["metadata"]["namespace"]) == ("detector", "cvat")
    labels = json.loads(annotations["spec"])
    assert len({label["name"] for label in labels}) == len({label["id"] for label in labels}) == len(labels)
    assert {label["type"] for label in labels} == {"mask"}
    assert content["spec"]["handler"] == "main:handler"
    assert read_phrases(RECIPE / "function.yaml")["road"] == ["road", "street"]
    with pytest.raises(UserError):
        read_phrases(RECIPE / "main.py")
