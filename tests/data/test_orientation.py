"""Every kind of file, turned in each of the eight ways, comes out upright once: compared with turns by NumPy."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from ca_seg.backbones.images import as_tensor
from ca_seg.data.inputs import open_images
from ca_seg.data.read import HeldFile, read_image, read_size
from ca_seg.errors import UnreadableImage

UPRIGHT = {  # the definition of the tag (TIFF 6.0, page 36)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}
GRAY = np.kron(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10, np.ones((8, 8), np.uint8))
COLOUR = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=2)
DEEP = GRAY.astype(np.uint16) * 257
LZW = {"compression": "tiff_lzw"}
FILES = {  # name: the stored pixels, and how they are saved
    "colour.jpg": (COLOUR, {"quality": 95}),
    "gray.jpg": (GRAY, {"quality": 95}),
    "colour.tif": (COLOUR, {}),
    "gray.tif": (GRAY, {}),
    "deep.tif": (DEEP, {}),
    "colour-lzw.tif": (COLOUR, LZW),
    "gray-lzw.tif": (GRAY, LZW),
    "deep-lzw.tif": (DEEP, LZW),
    "colour.png": (COLOUR, {}),
    "gray.png": (GRAY, {}),
    "deep.png": (DEEP, {}),
    "colour.webp": (COLOUR, {"lossless": True}),
    "colour.avif": (COLOUR, {"quality": 95}),
    "colour.heic": (COLOUR, {"quality": 95}),
    "gray.heic": (GRAY, {"quality": 95}),
    "deep.heic": (DEEP, {"quality": 95}),
}


def read_through_pil(path):
    with Image.open(path) as image:
        return next(open_images(image)).pixels


def read_through_backbone(path):
    with Image.open(path) as image:
        return as_tensor(image)[0]


@pytest.fixture(autouse=True, scope="module")
def _heic_can_be_written():
    import pillow_heif

    pillow_heif.register_heif_opener()


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", FILES)
def test_an_image_is_turned_once(tmp_path, name, orientation):
    stored, options = FILES[name]
    exif, path = Image.Exif(), tmp_path / name
    exif[0x0112] = orientation
    Image.fromarray(stored).save(path, exif=exif.tobytes(), **options)
    expected = UPRIGHT[orientation](stored).astype(np.float64) / (65535 if stored.dtype == np.uint16 else 255)
    expected = expected if expected.ndim == 3 else expected[..., None].repeat(3, axis=2)
    tolerance = 0.1 if path.suffix in (".jpg", ".avif", ".heic") else 1e-6  # a wrong turn is off by 0.19 or more
    held = HeldFile(path.read_bytes(), path)
    for read in (read_image, read_through_pil, read_through_backbone, lambda _: read_image(held)):
        np.testing.assert_allclose(read(path).permute(1, 2, 0).numpy(), expected, atol=tolerance)
    assert read_size(path) == expected.shape[:2]


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_heic_without_its_library_names_the_extra(tmp_path, monkeypatch, name):
    content = io.BytesIO()
    Image.fromarray(COLOUR).save(content, "HEIF")
    (tmp_path / name).write_bytes(content.getvalue())  # phones and messengers also call it .jpg
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UnreadableImage, match="heif") as error:
        read_image(tmp_path / name)
    assert name in error.value.what


def test_floats_in_the_range_of_an_image_are_read_and_others_refused_with_theirs(tmp_path):
    values = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    Image.fromarray(values).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[1].numpy(), values)
    np.testing.assert_array_equal(as_tensor(Image.fromarray(values))[0, 1].numpy(), values)
    wrong = {"byte": values * 255, "negative": values - 0.5, "nan": np.where(values > 0.5, np.nan, values)}
    for name, content in wrong.items():
        Image.fromarray(content.astype(np.float32)).save(tmp_path / f"{name}.tif")
        with pytest.raises(UnreadableImage, match=f"{name}.tif holds floats from"):
            read_image(tmp_path / f"{name}.tif")
    Image.fromarray(np.full((3, 4), 70000, np.int32)).save(tmp_path / "long.tif")
    with pytest.raises(UnreadableImage, match="from 70000 to 70000"):
        read_image(tmp_path / "long.tif")
