"""The viewer as a server: started, and called over HTTP by clients, each of which is a tab."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ca_seg
from ca_seg.errors import UserError
from ca_seg.resources import resource_path
from ca_seg.visual.video import write_overlay_video
from tests.viewer.conftest import start

pytest.importorskip("gradio", reason="gradio is not installed: pip install 'ca-seg[view]'")
from gradio_client import Client, handle_file


@pytest.fixture(scope="module")
def viewer(mini, photo):
    with ca_seg.view(photo, ["dog", "grass"], backbone=mini, settings=start(port=0, browser=False)) as running:
        yield running


@pytest.fixture
def client(viewer) -> Client:
    return Client(viewer.url, verbose=False)


def ask(client: Client, photo: Path, words: str, **options):
    return client.predict(photo=handle_file(str(photo)), words=words, **options, api_name="/ask")


def test_the_address_answers(viewer):
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", viewer.url)
    assert urllib.request.urlopen(viewer.url).status == 200


def test_saved_masks_are_those_of_segment(client, mini, photo, tmp_path):
    scores, status, *_ = ask(client, photo, "dog, grass, sky", threshold=0.4, layers=[1, 2], space="value")
    settings = ca_seg.SegmentSettings(backbone="mini", threshold=0.4, layers=(1, 2), space="value")
    alone = ca_seg.segment(photo, ["dog", "grass", "sky"], backbone=mini, settings=settings)
    seconds = scores.pop("seconds")
    assert scores == json.loads(json.dumps(alone.as_dict()))
    assert seconds["ask"] > 0
    assert "ms" in status
    files = client.predict(formats=["mask", "coco"], cutout="grass", api_name="/save")
    alone.save(tmp_path, "mask")
    alone.save_cutout("grass", tmp_path)
    assert Path(files[0]).read_bytes() == (tmp_path / "my photo_mask.png").read_bytes()
    assert Path(files[-1]).read_bytes() == (tmp_path / "my photo_cutout_grass.png").read_bytes()
    assert json.loads(Path(files[1]).read_text(encoding="utf-8"))["annotations"]
    line, block = client.predict(api_name="/command")
    assert line.startswith(f"ca-seg segment '{photo}' --concepts dog grass sky")  # its path, for it was given
    namespace: dict = {}
    exec(block, namespace)
    assert np.array_equal(namespace["result"].mask, alone.mask)


def test_what_is_read_from_an_answer(client, photo):
    ask(client, photo, "dog, grass")
    facts = client.predict(x=3, y=4, api_name="/probabilities")[1]
    assert sum(facts["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    table, arrays = client.predict(api_name="/layers")
    assert table.count("<img") == 12
    assert np.load(arrays)["layer 0"].shape[0] == 2
    first, second, both = client.predict(backbone="mini", layers=[5], api_name="/compare")
    assert Image.open(first).size == Image.open(second).size
    assert 0 <= both["same_class"] < 1


def test_a_generation_is_streamed(client, photo):
    ask(client, photo, "dog, grass")
    job = client.submit(prompt="a dog on grass", steps=2, side=64, seed=1, api_name="/generate")
    last = job.result()
    assert Image.open(last[1]).size == (64, 64)
    assert len(job.outputs()) >= 2
    assert "Step 1 of 2" in job.outputs()[0][0]


def test_a_video_is_segmented_within_its_limit(client, photo, tmp_path):
    pytest.importorskip("av", reason="PyAV is not installed: pip install 'ca-seg[video]'")
    frames, masks = [np.asarray(Image.open(photo).resize((64, 48)))] * 4, [np.zeros((48, 64), np.uint8)] * 4
    for count in (2, 4):
        write_overlay_video(tmp_path / f"{count}.mp4", iter(frames[:count]), iter(masks[:count]), range(1), 24.0)
    ask(client, photo, "dog, grass")
    overlay, facts, _ = client.predict(video=handle_file(str(tmp_path / "2.mp4")), api_name="/video")
    assert facts == {"frames": 2, "classes": ["dog", "grass"]}
    assert Path(overlay["video"] if isinstance(overlay, dict) else overlay).stat().st_size
    assert Image.open(client.predict(frame=1, api_name="/frame")).size[0] >= 64
    with pytest.raises(Exception, match="more than 3 frames"):
        client.predict(video=handle_file(str(tmp_path / "4.mp4")), api_name="/video")


def test_bad_input_is_one_message_and_the_server_goes_on(client, photo, tmp_path):
    broken, huge, moving = tmp_path / "broken.jpg", tmp_path / "huge.png", tmp_path / "moving.gif"
    broken.write_bytes(photo.read_bytes()[:1500])
    Image.new("1", (2000, 1000)).save(huge)
    Image.new("L", (9, 9)).save(moving, save_all=True, append_images=[Image.new("L", (9, 9), 255)])
    for path, words, options, message in (
        (broken, "dog", {}, "broken.jpg"),
        (huge, "dog", {}, "megapixels"),
        (moving, "dog", {}, "2 frames"),
        (photo, ", ".join(f"w{i}" for i in range(500)), {}, "500 words"),
        (photo, "dgo", {}, "unknown word 'dgo'"),
        (photo, "dog", {"backbone": "flux1-schnell"}, "not loaded"),
        (photo, "dog", {"layers": [9]}, "9"),
        (photo, "dog", {"threshold": 3}, "3"),
    ):
        with pytest.raises(Exception, match=message):
            ask(client, path, words, **options)
    ask(client, photo, "dog")
    for prompt, message in (("x" * 5000, "5000 characters"), ("", "no prompt")):
        with pytest.raises(Exception, match=message):
            client.predict(prompt=prompt, api_name="/generate")
    with pytest.raises(Exception, match="unknown class"):
        client.predict(formats=["mask"], cutout="cat", api_name="/save")
    assert ask(client, photo, "dog")[0]["concepts"]["dog"]


def test_two_clients_are_two_tabs(viewer, photo):
    first, second = (Client(viewer.url, verbose=False) for _ in range(2))
    ask(first, photo, "dog")
    with pytest.raises(Exception, match="nothing is shown"):
        second.predict(x=0, y=0, api_name="/probabilities")
    tab, other = (viewer.tabs.of(client.session_hash) for client in (first, second))  # former clients may just close
    assert tab is not other
    assert len(tab.session.recordings) == 1
    assert len(other.session.recordings) == 0


def test_a_port_in_use_is_refused_with_another():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=r"--port"):
            ca_seg.view(port=port, backbone="mini", settings=start(browser=False))


@pytest.mark.slow
def test_the_command_prints_the_address_and_stops_at_an_interrupt(tmp_path, photo):
    shutil.copy(photo, tmp_path / "photo.jpg")
    arguments = ["view", "photo.jpg", "--backbone", "mini", "--port", "0", "--no-browser"]
    environment = os.environ | {"PYTHONPATH": str(resource_path("datasets").parent)}
    process = subprocess.Popen(
        [sys.executable, "-m", "ca_seg", *arguments], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = []
        while not lines or not lines[-1].startswith("http"):
            line = process.stdout.readline()
            assert line, lines
            lines.append(line.strip())
        assert urllib.request.urlopen(lines[-1]).status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
