"""Images and masks of each kind of file, compared with the arrays that were written."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ca_seg.data.read import read_image, read_mask, read_size
from ca_seg.errors import BadMask, UnreadableImage

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)


def pixels(path) -> np.ndarray:
    """The image as ca_seg reads it, [H, W, 3] in 0..255."""
    image = read_image(path)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    return image.permute(1, 2, 0).numpy() * 255


def png(path, depth: int, rows: list[bytes], width: int) -> None:
    """A gray PNG of 1, 2, 4, 8 or 16 bits, byte by byte: PIL cannot write the narrow ones."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, len(rows), depth, 0, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b""))


def test_rgb_and_gray(tmp_path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    np.testing.assert_allclose(pixels(tmp_path / "a.png"), COLOURS, atol=1e-4)
    Image.fromarray(GRAY).save(tmp_path / "b.png")
    np.testing.assert_allclose(pixels(tmp_path / "b.png"), GRAY[..., None].repeat(3, 2), atol=1e-4)
    assert read_size(tmp_path / "a.png") == (5, 7)


def test_transparency_is_dropped(tmp_path) -> None:
    Image.fromarray(np.dstack([COLOURS, GRAY])).save(tmp_path / "a.png")
    np.testing.assert_allclose(pixels(tmp_path / "a.png"), COLOURS, atol=1e-4)
    palette = Image.fromarray(COLOURS).quantize(16)
    palette.save(tmp_path / "p.png", transparency=bytes([0] * 8 + [255] * 8))
    np.testing.assert_allclose(pixels(tmp_path / "p.png"), np.asarray(palette.convert("RGB")), atol=1e-4)


def test_sixteen_bits_are_scaled_and_not_truncated(tmp_path) -> None:
    deep = np.array([[0, 257, 300], [1000, 40000, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "b.tif")
    for name in ("a.png", "b.tif"):
        np.testing.assert_allclose(pixels(tmp_path / name)[..., 1], deep / 257, rtol=1e-6)


def test_cmyk(tmp_path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 0, 0)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(pixels(tmp_path / "a.jpg")[4, 4], [255, 0, 255], atol=6)  # full magenta


def test_masks_keep_their_numbers(tmp_path) -> None:
    ids = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
    colourful = Image.fromarray(ids).convert("P")
    colourful.putpalette(RNG.permutation(768).astype(np.uint8).tobytes())
    colourful.save(tmp_path / "palette.png")
    Image.fromarray(ids).save(tmp_path / "gray.png")
    for name in ("palette.png", "gray.png"):
        assert read_mask(tmp_path / name).dtype == np.uint8
        np.testing.assert_array_equal(read_mask(tmp_path / name), ids)
    Image.fromarray(ids > 100).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "bits.png"), ids > 100)
    deep = np.array([[0, 300], [151, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_mask(tmp_path / "deep.png").dtype == np.uint16
    np.testing.assert_array_equal(read_mask(tmp_path / "deep.png"), deep)


def test_gray_masks_of_few_bits_are_not_rescaled(tmp_path) -> None:
    """PIL reads a 4-bit gray 3 as 51 and a 2-bit 3 as 255, right for images and wrong for ids."""
    png(tmp_path / "two.png", 2, [bytes([0b00011011])], 4)
    png(tmp_path / "four.png", 4, [bytes([0x03, 0x1F])], 4)
    assert np.asarray(Image.open(tmp_path / "four.png")).tolist() == [[0, 51, 17, 255]]
    assert read_mask(tmp_path / "two.png").tolist() == [[0, 1, 2, 3]]
    assert read_mask(tmp_path / "four.png").tolist() == [[0, 3, 1, 15]]
    np.testing.assert_allclose(pixels(tmp_path / "four.png")[0, :, 0], [0, 51, 17, 255], atol=1e-4)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "F"])
def test_colour_masks_are_refused(tmp_path, mode) -> None:
    path = tmp_path / ("m.tif" if mode == "F" else "m.png")
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(BadMask, match=rf"\b{mode}\b"):
        read_mask(path)


def test_broken_files_are_named(tmp_path) -> None:
    good = tmp_path / "whole.png"
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(good)
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "whole.jpg")
    flipped = bytearray(good.read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    broken = {
        "cut.png": good.read_bytes()[:3000],
        "cut.jpg": (tmp_path / "whole.jpg").read_bytes()[:1500],
        "flipped.png": bytes(flipped),
        "text.png": b"this is no image",
        "empty.jpg": b"",
        "head.png": good.read_bytes()[:20],
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        for read in (read_image, read_mask):
            with pytest.raises(UnreadableImage, match=name):
                read(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    for name in ("missing.png", "folder.png"):
        for read in (read_image, read_mask, read_size):
            with pytest.raises(UnreadableImage, match=name):
                read(tmp_path / name)
    Image.new("F", (3, 3), 300).save(tmp_path / "real.tif")
    with pytest.raises(UnreadableImage, match=r"real\.tif"):
        read_image(tmp_path / "real.tif")


def test_the_size_is_read_without_the_pixels(tmp_path) -> None:
    Image.fromarray(RNG.integers(0, 256, (64, 48, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    assert read_size(tmp_path / "cut.png") == (64, 48)


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("note", [b"\0\x08\0\x02\x01\x12\0\x03", b"b'Exif\\x00", b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0"])
def test_a_broken_exif_note_does_not_make_an_image_unreadable(tmp_path, suffix, note) -> None:
    image = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    path = tmp_path / f"a.{suffix}"
    if suffix == "webp":
        Image.fromarray(image).save(path, lossless=True, exif=b"Exif\0\0" + note)
    else:
        Image.fromarray(image).save(path)
        content, chunk = path.read_bytes(), b"eXIf" + note
        start = content.index(b"IDAT") - 4
        block = struct.pack(">I", len(note)) + chunk + struct.pack(">I", zlib.crc32(chunk))
        path.write_bytes(content[:start] + block + content[start:])
    assert np.array_equal((255 * read_image(path)).round().byte().permute(1, 2, 0).numpy(), image)
    assert read_size(path) == (8, 12)
