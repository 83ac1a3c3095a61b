"""Limits, bad pictures, bounded recordings, and tabs that do not see each other."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ca_seg.backbones.prompt import Prompt
from ca_seg.errors import OutOfRange, UnreadableImage, UserError
from ca_seg.viewer.answer import answer, recording_of
from ca_seg.viewer.backbones import Backbones, available_bytes
from ca_seg.viewer.controls import Controls
from ca_seg.viewer.handlers import EMPTY, Handlers
from ca_seg.viewer.limits import check_generation, parse_words
from ca_seg.viewer.picture import open_picture
from ca_seg.viewer.recordings import Recordings, readout_bytes
from ca_seg.viewer.tab import Tabs
from tests.viewer.conftest import START, start

CONTROLS = Controls.of(START)


def saved(path: Path, **options) -> Path:
    Image.new("RGB", (64, 48), "green").save(path, **options)
    return path


def test_words_are_separated_by_commas_and_lines():
    assert parse_words(" cat,  polar bear\n sky ,,", 3) == ("cat", "polar bear", "sky")
    assert parse_words(" , \n", 3) == ()
    with pytest.raises(UserError, match="500"):
        parse_words(",".join(f"word{i}" for i in range(500)), 100)


@pytest.mark.parametrize(
    ("prompt", "steps", "side"), [("", 4, 128), ("x" * 3000, 4, 128), ("a", 0, 128), ("a", 4, 9999)]
)
def test_generations_are_limited(prompt, steps, side):
    with pytest.raises(UserError):
        check_generation(prompt, steps, side)


def test_bad_pictures_are_refused(tmp_path, photo):
    huge = tmp_path / "huge.png"
    Image.new("1", (2000, 1000)).save(huge)
    moving = saved(tmp_path / "moving.gif", save_all=True, append_images=[Image.new("RGB", (64, 48), "red")])
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photo.read_bytes()[:2000])
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for path, kind, words in (
        (huge, UserError, "megapixels"),
        (moving, UserError, "2 frames"),
        (cut, UnreadableImage, "cut.jpg"),
        (text, UnreadableImage, "text.png"),
        (tmp_path / "missing.png", UnreadableImage, "missing"),
    ):
        with pytest.raises(kind, match=words):
            open_picture(path, 1.0, {})


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    path = tmp_path / "huge.png"
    Image.new("1", (4000, 4000)).save(path)
    monkeypatch.setattr("ca_seg.viewer.picture.read_image", lambda _: pytest.fail("it was decoded"))
    with pytest.raises(UserError):
        open_picture(path, 1.0, {})


def test_recordings_are_bounded_by_number_and_by_memory(tab, backbones, mini, photo):
    picture, settings = tab.session.picture(photo), CONTROLS.settings(START, 20)
    readout, is_new = recording_of(tab.session, mini, picture, settings)
    assert is_new
    size = readout_bytes(readout)
    assert size >= sum(x.key.nbytes + x.value.nbytes + x.output.nbytes for x in readout.recording.streams)
    few = Recordings(2, 10 * size)
    for key in "abc":
        few.put(key, readout)  # type: ignore[arg-type]
    assert few.get("a") is None  # type: ignore[arg-type]
    assert few.get("b") is readout  # type: ignore[arg-type]
    few.put("d", readout)  # type: ignore[arg-type]
    assert few.get("c") is None  # type: ignore[arg-type]
    assert few.get("b") is readout  # type: ignore[arg-type]
    small = Recordings(9, 2.5 * size)
    for key in "abcd":
        small.put(key, readout)  # type: ignore[arg-type]
    assert len(small) == 2
    assert small.bytes <= 2.5 * size
    none = Recordings(9, size / 2)
    none.put("a", readout)  # type: ignore[arg-type]
    assert len(none) == 0


def test_another_captioner_makes_another_recording(tab, mini, photo, monkeypatch):
    monkeypatch.setattr("ca_seg.backbones.readout.caption_prompts", lambda *_: [Prompt("dog")])
    picture, settings = tab.session.picture(photo), CONTROLS.settings(START, 20)
    first, second = (replace(settings, prompt="captioner", captioner=name) for name in ("blip", "florence"))
    is_new = [recording_of(tab.session, mini, picture, chosen)[1] for chosen in (first, second, first)]
    assert is_new == [True, True, False]


def test_tabs_do_not_see_each_other_and_a_closed_one_is_freed(tabs, backbones, photo):
    first, second = tabs.of("first"), tabs.of("second")
    answer(first.session, backbones, first.session.picture(photo), ("dog",), CONTROLS.settings(START, 20))
    assert len(first.session.recordings) == 1
    assert len(second.session.recordings) == 0
    assert second.answer is None
    assert not second.session.has(photo)
    folder = first.session.new_folder()
    tabs.close("first")
    assert len(first.session.recordings) == 0
    assert not folder.exists()
    assert tabs.of("first") is not first


def test_the_least_recently_used_tab_is_closed(tmp_path):
    tabs = Tabs(start(max_tabs=2), {}, tmp_path)
    first, second = tabs.of("1"), tabs.of("2")
    tabs.of("1")
    tabs.of("3")
    assert len(tabs) == 2
    assert tabs.of("1") is first
    assert tabs.of("2") is not second


def test_a_problem_while_typing_keeps_the_last_answer_and_says_so(tab, backbones, photo):
    handlers = Handlers(backbones)
    good = handlers.follow(tab, str(photo), "dog, grass", CONTROLS)
    assert "error" not in good.facts
    wrong = handlers.follow(tab, str(photo), "dog, gras", CONTROLS)
    assert "gras" in wrong.facts["error"]
    assert wrong.stage == good.stage
    assert "dog, grass" in wrong.status
    assert wrong.line == good.line  # the command of what is shown
    with pytest.raises(UserError):
        handlers.ask(tab, str(photo), "dog, gras", CONTROLS)
    with pytest.raises(UserError):
        handlers.pixel(tab, 0, 0)  # a client that asked in vain reads nothing old


def test_another_photograph_never_shows_the_former_mask(tab, backbones, photo, tmp_path):
    handlers = Handlers(backbones)
    handlers.follow(tab, str(photo), "dog, grass", CONTROLS)
    other = handlers.follow(tab, str(saved(tmp_path / "other.png")), "gras", CONTROLS)
    assert "error" in other.facts
    assert "ca-legend" not in other.stage
    assert tab.answer is None
    (tmp_path / "broken.png").write_bytes(b"no picture")
    broken = handlers.follow(tab, str(tmp_path / "broken.png"), "grass", CONTROLS)
    assert "broken.png" in broken.facts["error"]
    assert broken.stage == EMPTY  # where the next one can be dropped


def test_a_pixel_has_the_probabilities_of_the_segmentation(tab, backbones, photo):
    handlers = Handlers(backbones)
    handlers.ask(tab, str(photo), "dog, grass, sky", CONTROLS)
    segmentation = tab.shown().segmentation
    for x, y in ((0, 0), (229, 169), (100, 31)):
        _, facts = handlers.pixel(tab, x, y)
        expected = dict(zip(segmentation.classes, segmentation.probabilities[:, y, x].tolist(), strict=True))
        assert facts["probabilities"] == pytest.approx(expected, abs=1e-6)
        assert facts["class"] == segmentation.classes[segmentation.mask[y, x]]
    with pytest.raises(OutOfRange):
        handlers.pixel(tab, 230, 0)


def test_a_strip_has_the_maps_of_each_layer(tab, backbones, mini, photo):
    handlers = Handlers(backbones)
    handlers.ask(tab, str(photo), "dog, grass", CONTROLS)
    table, path = handlers.strip(tab, "layers")
    arrays = np.load(path)
    assert arrays["words"].tolist() == ["dog", "grass"]
    picture = tab.shown().picture
    from ca_seg.data.seeds import image_seed

    recording = mini.record(picture.image.pixels[None], seed=image_seed(0, picture.image.image_id), layers=range(6))
    features = recording.ask(["dog", "grass"])
    for layer in range(6):
        assert np.array_equal(arrays[f"layer {layer}"], features.maps(layers=[layer])[0].numpy())
    assert table.count("<img") == 12


def test_two_settings_are_compared(tab, backbones, photo):
    handlers = Handlers(backbones)
    handlers.ask(tab, str(photo), "dog, grass, sky", CONTROLS)
    *_, same = handlers.compare(tab, CONTROLS)
    assert same["same_class"] == 1
    _, _, facts = handlers.compare(tab, Controls("mini", layers=(5,), space="value"))
    first = tab.shown().segmentation
    assert 0 < facts["same_class"] < 1
    assert set(facts["iou"]) == set(first.classes)


def test_a_generation_gives_the_maps_of_each_step(tab, backbones, mini):
    import ca_seg

    handlers = Handlers(backbones)
    tab.words = ("dog", "grass")
    steps = list(handlers.generate(tab, "a dog on grass", 3, 64, 5))
    assert [image is None for _, image in steps] == [True, True, True, False]
    whole = ca_seg.generate(mini, "a dog on grass", ["dog", "grass"], height=64, width=64, steps=3, seed=5)
    assert np.array_equal(np.asarray(steps[-1][1]), np.asarray(whole.images[0]))
    mean = np.mean([step.maps for step in tab.steps], axis=0)
    grid = whole.maps[0, :, 4::8, 4::8].shape[1:]
    assert mean.shape[1:] == grid
    np.testing.assert_allclose(mean.sum(axis=0), 1, rtol=1e-5)
    assert "Step 2 of 3" in handlers.step(tab, 2)


def test_without_words_a_generation_shows_the_things_of_its_prompt(tab, backbones):
    handlers = Handlers(backbones)
    tab.words = ()
    list(handlers.generate(tab, "a photo of two dogs on grass", 1, 64, 5))
    assert tab.steps[0].words == ("dog", "grass")
    with pytest.raises(UserError, match="names nothing"):
        list(handlers.generate(tab, "quickly", 1, 64, 5))


def test_a_generation_stops_when_nobody_waits_for_it(tab, backbones, monkeypatch):
    from ca_seg.viewer import generation

    ran: list[int] = []
    finished = threading.Event()
    generate = generation.generate

    def counted(*arguments, on_step, **options):
        def step(number, maps):
            ran.append(number)
            on_step(number, maps)

        try:
            return generate(*arguments, on_step=step, **options)
        finally:
            finished.set()

    monkeypatch.setattr(generation, "generate", counted)
    updates = generation.generation_steps(backbones, tab.settings, "a dog on grass", ("dog",), steps=50, side=64)
    next(updates)
    updates.close()
    assert finished.wait(20)
    assert ran[-1] < 50
    *_, last = generation.generation_steps(backbones, tab.settings, "a dog", ("dog",), steps=1, side=64)
    assert last.image is not None  # the next one has the backbone


def test_a_backbone_that_does_not_fit_is_refused_before_it_is_read(monkeypatch):
    backbones, settings = Backbones("cpu"), start(backbone="flux1-schnell")
    monkeypatch.setattr("ca_seg.viewer.backbones.available_bytes", lambda _: 2**30)
    monkeypatch.setattr("ca_seg.predictors.settings.load_backbone", lambda *_, **__: pytest.fail("it was read"))
    assert "GiB" in backbones.estimate(settings)
    with pytest.raises(UserError, match="does not fit"):
        backbones.load(settings)
    with pytest.raises(UserError, match=r"not loaded.*another backbone"):  # and not that Load is to be pressed
        backbones.get(settings)
    monkeypatch.setattr("ca_seg.viewer.backbones.available_bytes", lambda _: 16 * 2**30)
    with pytest.raises(UserError, match="precision bf16"):
        backbones.load(settings)
    with pytest.raises(UserError, match="Press Load"):
        backbones.get(start(backbone="flux1-schnell", precision="bf16"))


def test_free_memory_is_known_here():
    free = available_bytes("cpu")
    assert free is None or free > 2**20


def test_words_are_escaped(tab, backbones, photo):
    from ca_seg.viewer import html

    assert html.safe('<b>"{x}" ${1}`') == "&lt;b&gt;&quot;&#123;x&#125;&quot; &#36;&#123;1&#125;&#96;"
    handlers = Handlers(backbones)
    shown = handlers.follow(tab, str(photo), "<script>alert(1)</script>", CONTROLS)
    assert "<script>" not in shown.status
    assert isinstance(io.StringIO(shown.status).read(), str)


@pytest.mark.parametrize("options", [{"port": -1}, {"port": 70000}, {"max_words": 0}, {"max_memory": 0.0}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(OutOfRange):
        start(**options)
