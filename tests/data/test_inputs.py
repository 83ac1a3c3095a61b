"""Images in each form that users give: their image_ids, lazy reading, and the error of each mistake."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.inputs import expand_paths, is_single, looks_like_image, open_images
from ca_seg.data.read import read_image
from ca_seg.errors import UnreadableImage, UserError

ROOT = Path(__file__).parents[2]
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
EXPECTED = torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 255
LOSSLESS = ("png", "bmp", "tiff", "ppm")


@pytest.fixture
def photos(tmp_path):
    """photos/: a.png, b.jpg, sub/a.webp, notes.txt, .hidden.png."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    image = Image.fromarray(PIXELS)
    for name in ("a.png", "b.jpg", "sub/a.webp", ".hidden.png"):
        image.save(folder / name)
    (folder / "notes.txt").write_text("no image")
    return folder


def read(source):
    return [(image.image_id, image.path, image.pixels) for image in open_images(source)]


def ids(source):
    return [image.image_id for image in open_images(source)]


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_of_any_format(tmp_path, suffix, kind):
    path = tmp_path / f"photo.v2.{suffix}"
    Image.fromarray(PIXELS).save(path)
    [(image_id, file, pixels)] = read(kind(path))
    assert (image_id, file) == ("photo.v2", path)
    assert pixels.dtype == torch.float32
    assert torch.equal(pixels, EXPECTED)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_with_an_exif_orientation_is_upright_from_a_file_and_from_pil(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray(PIXELS).save(path, exif=exif)
    from PIL import ImageOps

    upright = np.array(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    for source in (path, Image.open(path)):
        [(_, _, pixels)] = read(source)
        assert torch.equal(pixels, torch.from_numpy(upright).permute(2, 0, 1).float() / 255)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_a_pil_image_is_read_like_its_file(tmp_path, mode):
    image = Image.fromarray(PIXELS).convert(mode)
    path = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    image.save(path)
    [(image_id, file, pixels)] = read(image)
    assert (image_id, file) == ("image", None)
    assert torch.equal(pixels, read_image(path))


def test_a_folder_with_its_sub_folders(photos):
    for source in (photos, str(photos)):
        assert ids(source) == ["a", "b", "sub/a"]
    assert [path for _, path, _ in read(photos)] == [photos / "a.png", photos / "b.jpg", photos / "sub/a.webp"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*", ["a", "b"]),
        ("*.png", ["a"]),
        ("**/*", ["a", "b", "sub/a"]),
        ("*/a.webp", ["sub/a"]),
        ("[ab].*", ["a", "b"]),
    ],
)
def test_a_glob(photos, pattern, expected, monkeypatch):
    assert ids(str(photos / pattern)) == expected
    monkeypatch.chdir(photos)
    assert ids(pattern) == expected


def test_a_name_that_looks_like_a_glob_is_a_file_where_there_is_one(photos):
    (photos / "b.jpg").rename(photos / "b[1].jpg")
    [(image_id, path, _)] = read(photos / "b[1].jpg")
    assert (image_id, path) == ("b[1]", photos / "b[1].jpg")


def _piped(monkeypatch, content: bytes, terminal: bool = False):
    stdin = SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: terminal)
    monkeypatch.setattr(sys, "stdin", stdin)


def test_standard_input(photos, monkeypatch):
    _piped(monkeypatch, (photos / "a.png").read_bytes())
    [image] = open_images("-")
    assert (image.image_id, image.path) == ("stdin", None)
    assert torch.equal(image.pixels, EXPECTED)
    assert image.pixels is image.pixels  # standard input can be read once


@pytest.mark.parametrize("content", [b"", b"not an image"])
def test_standard_input_without_an_image(monkeypatch, content):
    _piped(monkeypatch, content)
    [image] = open_images("-")
    with pytest.raises(UnreadableImage, match="standard input"):
        image.pixels  # noqa: B018


def test_standard_input_that_is_a_keyboard(monkeypatch):
    _piped(monkeypatch, b"", terminal=True)
    with pytest.raises(UserError):
        open_images("-")


@pytest.mark.parametrize(
    "source",
    [
        PIXELS,
        PIXELS.astype(np.float32) / 255,
        PIXELS[:, ::-1][:, ::-1],
        EXPECTED,
        EXPECTED[None],
        [PIXELS],
        (EXPECTED,),
    ],
    ids=["uint8", "float", "strides", "tensor", "batch", "list", "tuple"],
)
def test_arrays_and_tensors(source):
    [(image_id, path, pixels)] = read(source)
    assert (image_id, path, pixels.dtype) == ("image", None, torch.float32)
    torch.testing.assert_close(pixels, EXPECTED, rtol=0, atol=1e-7)


@pytest.mark.parametrize("gray", [PIXELS[..., 0], PIXELS[..., 0].astype(np.float64) / 255])
def test_gray_arrays(gray):
    [(_, _, pixels)] = read(gray)
    torch.testing.assert_close(pixels, EXPECTED[:1].expand(3, -1, -1), rtol=0, atol=1e-7)


def test_a_list_of_different_kinds_keeps_its_order(photos):
    source = [PIXELS, photos / "b.jpg", torch.stack([EXPECTED, EXPECTED]), Image.fromarray(PIXELS), str(photos / "sub")]
    assert ids(source) == ["image_0", "b", "image_2", "image_3", "image_4", "a"]


def test_images_are_decoded_when_used_and_a_broken_file_does_not_stop_the_others(photos):
    (photos / "b.jpg").write_bytes(b"broken")
    images = open_images(photos)
    assert tuple(next(images).pixels.shape) == (3, 4, 6)
    broken = next(images)
    with pytest.raises(UnreadableImage, match=r"b\.jpg"):
        broken.pixels  # noqa: B018
    assert [image.pixels.shape for image in images] == [(3, 4, 6)]


@pytest.mark.parametrize("url", ["https://host/cat.jpg", "http://host/a", "s3://bucket/a.png", "https:/host/cat.jpg"])
def test_a_url_is_refused(url):
    for opener in (open_images, lambda text: expand_paths([text])):
        with pytest.raises(UserError, match=re.escape(url)) as caught:
            opener(url)
        assert caught.value.fix


def test_missing_files_are_named(photos):
    with pytest.raises(UnreadableImage, match=r"a\.pgn") as caught:
        open_images(photos / "a.pgn")
    assert "a.png" in caught.value.allowed
    with pytest.raises(UnreadableImage, match="nowhere"):
        open_images([photos / "a.png", photos / "nowhere" / "a.png"])
    with pytest.raises(UserError, match=r"\*\.gif"):
        open_images(str(photos / "*.gif"))
    with pytest.raises(UserError, match=r"\*\.txt"):
        open_images(str(photos / "*.txt"))
    empty = photos / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="empty"):
        open_images(empty)
    for source in ([], (), [[]]):
        with pytest.raises(UserError):
            open_images(source)


def test_a_name_that_is_not_utf8_or_is_too_long_is_one_clear_error(photos):
    (photos / "b.jpg").rename(photos / os.fsdecode(b"caf\xe9.jpg"))
    with pytest.raises(UserError, match="caf") as caught:
        open_images(photos)
    str(caught.value).encode()  # the message can be printed
    (photos / os.fsdecode(b"caf\xe9.jpg")).rename(photos / "Café \u202f👩\u200d🚀.jpg")
    assert len(ids(photos)) == 3
    with pytest.raises(UnreadableImage, match="y" * 300):
        open_images("y" * 300)


def test_two_images_of_one_name_are_refused(photos):
    with pytest.raises(UserError, match="'a'") as caught:
        open_images([photos / "a.png", photos / "sub" / "a.webp"])
    assert str(photos / "a.png") in caught.value.what
    assert str(photos / "sub/a.webp") in caught.value.what
    with pytest.raises(UserError, match="'a'"):
        open_images([photos / "a.png", photos / "a.png"])


@pytest.mark.parametrize(
    ("source", "value"),
    [
        (PIXELS.astype(np.float32), "248"),
        (PIXELS.astype(np.float32) / 255 - 0.5, "-0.49"),
        (np.full((4, 6, 3), np.nan), "nan"),
        (PIXELS.astype(np.int64), "int64"),
        (np.zeros((4, 6, 4), np.uint8), "(4, 6, 4)"),
        (np.zeros((3, 4, 6), np.uint8), "(3, 4, 6)"),
        (np.zeros((2, 4, 6, 3), np.uint8), "(2, 4, 6, 3)"),
        (np.zeros((0, 6, 3), np.uint8), "(0, 6, 3)"),
        (np.zeros(6, np.uint8), "(6,)"),
        (EXPECTED * 255, "248"),
        (EXPECTED.new_full((3, 4, 6), float("nan")), "nan"),
        ((EXPECTED * 255).byte(), "uint8"),
        (EXPECTED[0], "(4, 6)"),
        (EXPECTED.permute(1, 2, 0), "(4, 6, 3)"),
        (b"bytes", "bytes"),
        (None, "None"),
        (7, "7"),
        ({"image": PIXELS}, "dict"),
        ([PIXELS, 7], "7"),
    ],
)
def test_values_that_are_not_images_are_refused(source, value):
    with pytest.raises(UserError) as caught:
        open_images(source)
    assert value in caught.value.what
    assert caught.value.allowed


def test_a_single_image_and_several(photos):
    singles = (photos / "a.png", str(photos / "a.png"), "-", PIXELS, PIXELS[..., 0], EXPECTED, Image.fromarray(PIXELS))
    several = (photos, str(photos / "*.png"), [PIXELS], (EXPECTED,), EXPECTED[None])
    assert all(map(is_single, singles))
    assert not any(map(is_single, several))


def test_paths_are_expanded_and_checked_without_torch(photos):
    paths = expand_paths([photos / "a.png", str(photos / "sub"), str(photos / "*.jpg"), "-"][:3])
    assert paths == [photos / "a.png", photos / "sub" / "a.webp", photos / "b.jpg"]
    code = (
        "import sys; from ca_seg.data.inputs import expand_paths, looks_like_image, open_images;"
        f"expand_paths([{str(photos)!r}]); open_images({str(photos)!r}); looks_like_image('cat');"
        "heavy = {'torch', 'numpy', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_words_and_images_of_a_command_line_are_distinguished(photos, monkeypatch):
    monkeypatch.chdir(photos)
    for text in ("a.png", "gone.JPG", "sub", "notes.txt", "*.png", "x?", "-", "https://host/cat", str(photos)):
        assert looks_like_image(text)
    for text in ("cat", "traffic light", "grass.", "3.5", ""):
        assert not looks_like_image(text)
