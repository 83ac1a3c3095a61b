"""One file of a cache: read by safetensors itself, and damaged in every bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ca_seg.errors import UnusableFeatures
from ca_seg.features.shard import features_of, read_arrays, read_locations, write_shard
from ca_seg.features.stored import to_stored

SIZES = {"a" * 8: (2, 3, 1), "b" * 8: (2, 2, 4)}


def images(dtype: str):
    rng = np.random.default_rng(0)
    ground_truth = {key: torch.from_numpy(rng.normal(size=shape).astype(np.float32)) for key, shape in SIZES.items()}
    return ground_truth, {
        key: to_stored(x, dtype, (16 * x.shape[1], 16 * x.shape[2])) for key, x in ground_truth.items()
    }


def read_all(path, fingerprint="f0"):
    with open(path, "rb", buffering=0) as file:
        locations = read_locations(path, fingerprint)
        return {key: features_of(*read_arrays(file, path, key, location)) for key, location in locations.items()}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_safetensors_reads_the_same(tmp_path, dtype) -> None:
    path, (ground_truth, stored) = tmp_path / "s.safetensors", images(dtype)
    write_shard(path, stored, "f0")
    by_safetensors, by_shard = load_file(path), read_all(path)
    assert by_shard.keys() == ground_truth.keys()
    for key, features in ground_truth.items():
        scale = by_safetensors[f"{key}.scale"][:, None, None] if dtype == "float16" else 1.0
        assert torch.equal(by_shard[key], by_safetensors[key].float() * scale)
        torch.testing.assert_close(by_shard[key], features, rtol=2**-10, atol=0)
        assert read_locations(path, "f0")[key].size == (16 * features.shape[1], 16 * features.shape[2])
    if dtype == "float32":
        assert all(torch.equal(by_shard[key], ground_truth[key]) for key in ground_truth)


def test_a_flipped_bit_anywhere_is_detected(tmp_path) -> None:
    """Every bit of one file: its length, the JSON of its header, scales, values."""
    path, (_, stored) = tmp_path / "s.safetensors", images("float16")
    write_shard(path, stored, "f0")
    whole = path.read_bytes()
    with open(path, "r+b", buffering=0) as file:
        for offset, byte in enumerate(whole):
            for bit in range(8):
                file.seek(offset)
                file.write(bytes([byte ^ (1 << bit)]))
                with pytest.raises(UnusableFeatures, match=r"s\.safetensors"):
                    read_all(path)
            file.seek(offset)
            file.write(bytes([byte]))
    assert path.read_bytes() == whole
    read_all(path)


def test_a_shard_that_is_truncated_or_too_long_is_detected_by_its_header(tmp_path) -> None:
    path, (_, stored) = tmp_path / "s.safetensors", images("float16")
    write_shard(path, stored, "f0")
    whole = path.read_bytes()
    for content in [
        *(whole[:cut] for cut in range(len(whole))),
        whole + b"\0",
        b"\xff" * 100,
        b"\x02" + b"\0" * 7 + b"{}",
    ]:
        path.write_bytes(content)
        with pytest.raises(UnusableFeatures, match=r"s\.safetensors"):
            read_locations(path, "f0")


def test_a_shard_of_another_cache_raises(tmp_path) -> None:
    path, (_, stored) = tmp_path / "s.safetensors", images("float16")
    write_shard(path, stored, "f0")
    with pytest.raises(UnusableFeatures, match=r"s\.safetensors"):
        read_locations(path, "f1")
