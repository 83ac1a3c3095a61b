"""The backend of Label Studio, by requests as Label Studio sends them; results are read by other tools."""

from __future__ import annotations

import base64
import re

import numpy as np
import pytest
from PIL import Image, ImageDraw

import ca_seg

pytest.importorskip("flask", reason="Flask is not installed: pip install 'ca-seg[label-studio]'")

from ca_seg.annotation.image_source import ImageSource
from ca_seg.annotation.label_studio.app import create_app
from ca_seg.annotation.label_studio.backend import LabelStudioBackend
from ca_seg.annotation.label_studio.config import LabelControl
from ca_seg.annotation.label_studio.prompt import prompt_phrases
from ca_seg.annotation.label_studio.serve import LabelStudioSettings, serve_label_studio
from ca_seg.annotation.word_masks import WordMasks
from ca_seg.errors import UnknownName, UserError
from tests.labelling.format_readers import brush_mask

CONFIG = """<View>
  <Header value="Mark everything"/>
  <Image name="img" value="$photo" zoom="true"/>
  <{kind} name="tool" toName="img" smart="true">
    <Label value="Hund" ca_seg="dog, puppy" background="red"/>
    <Label value="Wiese" alias="grass"/>
    <Label value="sky"/>
    <Label value="scratch" ca_seg=""/>
  </{kind}>
  <TextArea name="prompt" toName="img" smart="true"/>
</View>"""
PHRASES = {"Hund": ["dog", "puppy"], "grass": ["grass"], "sky": ["sky"]}
BRUSH = CONFIG.format(kind="BrushLabels")


@pytest.fixture
def client(backbone, folder):
    masks = WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone)
    return create_app(LabelStudioBackend(masks, ImageSource(root=folder))).test_client()


def ask(client, *addresses, config=BRUSH, typed=None, **more):
    """/predict as `label_studio/ml/api_connector.py` of Label Studio 1.23 sends it."""
    context = None
    if typed is not None:
        value = {"text": [typed]}
        context = {"result": [{"type": "textarea", "from_name": "prompt", "to_name": "img", "value": value}]}
    tasks = [{"id": number, "data": {"photo": address}} for number, address in enumerate(addresses)]
    params = {"login": None, "password": None, "context": context}
    request = {"tasks": tasks, "model_version": None, "project": "1.1795749606", "label_config": config}
    return client.post("/predict", json=request | {"params": params} | more)


def strokes(prediction) -> dict[str, np.ndarray]:
    """The mask of each label, read bit by bit."""
    return {
        result["value"]["brushlabels"][0]: brush_mask(
            result["value"]["rle"], result["original_height"], result["original_width"]
        )
        for result in prediction["result"]
    }


def test_brush_strokes_are_the_masks_of_segment(client, backbone, folder):
    answer = ask(client, "a.jpg", "/data/local-files/?d=dogs/b%20c.png")
    assert answer.status_code == 200
    for path, prediction in zip((folder / "a.jpg", folder / "dogs" / "b c.png"), answer.json["results"], strict=True):
        expected = ca_seg.segment(path, PHRASES, backbone=backbone)
        masks = strokes(prediction)
        assert set(masks) == {name for name, fraction in expected.fractions().items() if fraction}
        for result in prediction["result"]:
            name = result["value"]["brushlabels"][0]
            inside = expected.mask == expected.index(name)
            assert (masks[name] == inside).all()
            assert result["score"] == pytest.approx(expected.confidence[inside].mean(), abs=1e-5)
            assert (result["from_name"], result["to_name"], result["type"]) == ("tool", "img", "brushlabels")
        assert prediction["score"] == pytest.approx(expected.confidence.mean(), abs=1e-5)
        assert len({result["id"] for result in prediction["result"]}) == len(prediction["result"])


def test_label_studios_converter_reads_the_strokes(client, backbone, folder):
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="pip install label-studio-sdk, in an environment of its own"
    )
    (prediction,) = ask(client, "a.jpg").json["results"]
    expected = ca_seg.segment(folder / "a.jpg", PHRASES, backbone=backbone)
    for result in prediction["result"]:
        flat = brush.decode_rle(result["value"]["rle"])
        pixels = np.reshape(flat, (result["original_height"], result["original_width"], 4))
        assert ((pixels[:, :, 3] == 255) == (expected.mask == expected.index(result["value"]["brushlabels"][0]))).all()
    objects = pytest.importorskip("label_studio_sdk.label_interface")
    interface = objects.LabelInterface(BRUSH)
    interface.validate()
    assert interface.validate_prediction(prediction)


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_polygons_cover_the_masks(backbone, folder, tolerance):
    from scipy import ndimage

    masks = WordMasks(ca_seg.SegmentSettings(backbone="mini"), backbone=backbone)
    client = create_app(LabelStudioBackend(masks, ImageSource(root=folder), tolerance=tolerance)).test_client()
    (prediction,) = ask(client, "a.jpg", config=CONFIG.format(kind="PolygonLabels")).json["results"]
    expected = ca_seg.segment(folder / "a.jpg", PHRASES, backbone=backbone)
    shared = either = 0
    for name in expected.classes:
        canvas = Image.new("1", (150, 110))
        for result in prediction["result"]:
            if result["value"]["polygonlabels"] == [name]:
                points = [(x * 150 / 100 - 0.5, y * 110 / 100 - 0.5) for x, y in result["value"]["points"]]
                ImageDraw.Draw(canvas).polygon([(round(x), round(y)) for x, y in points], outline=1, fill=1)
        drawn, inside = np.array(canvas), expected.mask == expected.index(name)
        shared, either = shared + (drawn & inside).sum(), either + (drawn | inside).sum()
        away = np.argwhere(drawn != inside)
        edges = np.argwhere(inside != ndimage.binary_erosion(inside))
        distances = [np.abs(edges - pixel).max(axis=1).min() for pixel in away]
        assert max(distances, default=0) <= 2 * tolerance  # the line's distance, and one pixel of drawing it
    assert shared == either if tolerance == 0 else shared / either > 0.9


def test_rectangles_are_the_boxes_of_parts(client, backbone, folder):
    from scipy import ndimage

    (prediction,) = ask(client, "a.jpg", config=CONFIG.format(kind="RectangleLabels")).json["results"]
    expected = ca_seg.segment(folder / "a.jpg", PHRASES, backbone=backbone)
    boxes = set()
    for name in expected.classes:
        parts, _ = ndimage.label(expected.mask == expected.index(name), structure=np.ones((3, 3)))
        for rows, columns in ndimage.find_objects(parts):
            boxes.add((name, columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start))
    shapes = {
        (v["rectanglelabels"][0], *(round(v[k] * side / 100) for k, side in
         (("x", 150), ("y", 110), ("width", 150), ("height", 110))))
        for v in (result["value"] for result in prediction["result"])
    }  # fmt: skip
    assert shapes == boxes


def test_typed_words_are_asked_in_place_of_the_labels(client, backbone, folder, monkeypatch):
    ask(client, "a.jpg")
    monkeypatch.setattr(type(backbone), "record", None)  # the recording is kept
    for typed, words in {
        "Hund": {"Hund": ["dog", "puppy"]},
        "sky, grass": {"sky": ["sky"], "grass": ["grass"]},
        "Hund: cat; sky: cloud, water": {"Hund": ["cat"], "sky": ["cloud", "water"]},
        "scratch: road; GRASS": {"scratch": ["road"], "grass": ["grass"]},
    }.items():
        (prediction,) = ask(client, "a.jpg", typed=typed).json["results"]
        monkeypatch.undo()
        expected = ca_seg.segment(folder / "a.jpg", words, backbone=backbone)
        monkeypatch.setattr(type(backbone), "record", None)
        masks = strokes(prediction)
        assert "background" not in masks
        assert all((mask == (expected.mask == expected.index(name))).all() for name, mask in masks.items())
        assert set(masks) <= set(words)


def test_a_word_that_is_no_label():
    one = LabelControl("tool", "img", "photo", "brushlabels", {"thing": ("thing",)})
    assert prompt_phrases("cat, dog", one) == {"thing": ("cat", "dog")}
    two = LabelControl("tool", "img", "photo", "brushlabels", {"cat": ("cat", "kitten"), "sky": ("sky",)})
    assert prompt_phrases("kitten", two) == {"cat": ("kitten",)}
    for text in ("tree", "tree: oak", "cat:", ";"):
        with pytest.raises(UserError):
            prompt_phrases(text, two)


BROKEN = {
    "unknown word": ({"config": BRUSH.replace("dog, puppy", "qwzx")}, "qwzx"),
    "typed unknown word": ({"typed": "Hund: qwzx"}, "qwzx"),
    "no control": ({"config": "<View><Image name='img' value='$photo'/></View>"}, "no control"),
    "no image": ({"config": BRUSH.replace("$photo", "fixed")}, "no image"),
    "no XML": ({"config": "<View>"}, "XML"),
    "entities": ({"config": "<!DOCTYPE v [<!ENTITY a 'b'>]>" + BRUSH}, "document type"),
    "no config": ({"label_config": None}, "label_config"),
    "another field": ({"config": BRUSH.replace("$photo", "$picture")}, "picture"),
    "no tasks": ({"tasks": None}, "tasks"),
    "a task that is text": ({"tasks": ["a.jpg"]}, "field"),
    "points": ({"params": {"context": {"result": [{"type": "keypointlabels", "value": {"x": 1}}]}}}, "keypointlabels"),
    "context of text": ({"params": {"context": {"result": "cat"}}}, "context"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_used_is_said_in_one_line(client, name):
    more, words = BROKEN[name]
    answer = ask(client, "a.jpg", **more)
    assert answer.status_code == 400
    assert words in answer.json["detail"]
    assert words in answer.status  # of a failed answer, Label Studio shows the status line only
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("address", ["broken.jpg", "nothing.jpg", "../a.jpg", "http://elsewhere.example/a.jpg", 7])
def test_an_image_that_cannot_be_read_is_said_in_one_line(client, address):
    answer = ask(client, "a.jpg", address)
    assert answer.status_code == 400
    assert len(answer.json["detail"].splitlines()) == 1


def test_an_image_in_the_request(client, backbone, folder):
    content = base64.b64encode((folder / "a.jpg").read_bytes()).decode()
    (prediction,) = ask(client, f"data:image/jpeg;base64,{content}").json["results"]
    expected = ca_seg.segment(Image.open(folder / "a.jpg"), PHRASES, backbone=backbone)
    assert all((mask == (expected.mask == expected.index(name))).all() for name, mask in strokes(prediction).items())


def test_health_setup_and_other_requests(client, monkeypatch):
    assert client.get("/health").json["status"] == "UP"
    setup = {"project": "1.17", "schema": BRUSH, "hostname": "http://localhost:8080", "access_token": "x"}
    version = client.post("/setup", json=setup).json["model_version"]
    assert version == ask(client, "a.jpg").json["results"][0]["model_version"]
    other = client.post("/setup", json=setup | {"schema": BRUSH.replace("puppy", "cat")}).json["model_version"]
    assert other != version  # Label Studio then asks for all tasks again
    assert client.post("/setup", json=setup | {"schema": ""}).status_code == 200
    assert "qwzx" in client.post("/setup", json=setup | {"schema": BRUSH.replace("puppy", "qwzx")}).json["detail"]
    assert client.post("/webhook", json={"action": "ANNOTATION_CREATED"}).status_code == 201
    assert client.get("/nothing").status_code == 404
    assert client.get("/predict").status_code == 405
    assert client.post("/predict", data="no JSON").status_code == 400
    monkeypatch.setattr(LabelStudioBackend, "predict", lambda *_: 1 / 0)
    failed = ask(client, "a.jpg")
    assert failed.status_code == 500
    assert "ZeroDivisionError" in failed.json["detail"]
    assert "Traceback" not in failed.text


def test_the_command_says_its_address_and_refuses_bad_options(backbone, folder):
    lines: list[str] = []
    settings = LabelStudioSettings(backbone="mini", port=0, root=str(folder), check=True)
    serve_label_studio(settings, backbone=backbone, say=lines.append)
    assert re.fullmatch(r"Label Studio backend: http://127\.0\.0\.1:\d+", lines[0])
    for wrong in (
        {"root": str(folder / "a.jpg")}, {"label_studio": "localhost"}, {"address": "no.such.address.example"},
        {"port": 99999}, {"min_area": 2.0}, {"tolerance": -1.0}, {"recordings": -1}, {"timeout": 0.0},
    ):  # fmt: skip
        settings = LabelStudioSettings(backbone="mini", check=True, **({"port": 0} | wrong))
        with pytest.raises(UserError):
            serve_label_studio(settings, backbone=backbone)


def test_controls_are_chosen_by_name():
    two = BRUSH.replace("</View>", "<PolygonLabels name='p' toName='img'><Label value='sky'/></PolygonLabels></View>")
    assert LabelControl.parse(two).kind == "brushlabels"
    control = LabelControl.parse(two, "p")
    assert (control.kind, control.labels, control.field) == ("polygonlabels", ("sky",), "photo")
    with pytest.raises(UnknownName):
        LabelControl.parse(two, "q")


def test_the_model_class_of_label_studio_ml(folder, backbone, monkeypatch, tmp_path):
    """Through the web application of label-studio-ml 2, from its repository (it is not on PyPI)."""
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    pytest.importorskip("label_studio_ml.response", reason="install label-studio-ml 2 from its repository")
    from label_studio_ml.api import init_app

    monkeypatch.setenv("CA_SEG_BACKBONE", "mini")
    monkeypatch.setenv("LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT", str(folder))
    from recipes.label_studio.model import WordBackend

    client = init_app(WordBackend).test_client()
    setup = client.post("/setup", json={"project": "1.17", "schema": BRUSH})
    answer = ask(client, "a.jpg", typed="Hund; sky")
    (prediction,) = answer.json["results"]
    assert prediction["model_version"] == setup.json["model_version"]
    expected = ca_seg.segment(folder / "a.jpg", {"Hund": ["dog", "puppy"], "sky": ["sky"]}, backbone=backbone)
    assert all((mask == (expected.mask == expected.index(name))).all() for name, mask in strokes(prediction).items())
