"""Which caches are the same, and how a missing cache is explained."""

from __future__ import annotations

import json

import pytest

from ca_seg.errors import UnknownName, UnusableFeatures
from ca_seg.features import identity as module
from ca_seg.features.cache import FeatureCache
from ca_seg.features.identity import cache_identity, identity_differences
from ca_seg.fingerprint import fingerprint

SOURCE = {"backbone": "mini", "vocabulary": ["cat", "dog"], "readout": {"timesteps": [0.5], "space": None}}


def test_the_fingerprint_changes_with_every_part(monkeypatch) -> None:
    base = cache_identity(SOURCE, "float16")
    assert fingerprint(base) == fingerprint(dict(reversed(base.items())))
    assert cache_identity(SOURCE | {"vocabulary": ("cat", "dog")}, "float16") == base  # JSON has no tuples
    changed_identities = [
        cache_identity(SOURCE | {"vocabulary": ["dog", "cat"]}, "float16"),
        cache_identity(SOURCE, "float32"),
    ]
    for name, value in (("__version__", "9"), ("FEATURES_VERSION", 9), ("FORMAT", 9)):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            changed_identities.append(cache_identity(SOURCE, "float16"))
    for library in ("torch", "diffusers", "transformers"):
        with monkeypatch.context() as patch:
            patch.setattr(module, "version", lambda name, library=library: "9" if name == library else "1")
            changed_identities.append(cache_identity(SOURCE, "float16"))
    assert len({fingerprint(identity) for identity in [base, *changed_identities]}) == 9


def test_the_build_of_a_library_does_not_count(monkeypatch) -> None:
    monkeypatch.setattr(module, "version", lambda name: "2.14.1")
    plain = cache_identity(SOURCE, "float16")
    monkeypatch.setattr(module, "version", lambda name: "2.14.1+cu130")
    assert cache_identity(SOURCE, "float16") == plain


def test_differences_are_listed() -> None:
    there = cache_identity(SOURCE | {"vocabulary": ["cat"]}, "float16")
    assert identity_differences(cache_identity(SOURCE, "float16"), there) == ["vocabulary: cat, dog | there: cat"]
    differences = identity_differences(
        cache_identity(SOURCE | {"readout": {"timesteps": [0.3]}, "flip": True}, "float32"), there
    )
    assert differences == [
        "dtype: float32 | there: float16",
        "flip: true | there: not given",
        "readout.space: not given | there: null",
        "readout.timesteps: 0.3 | there: 0.5",
        "vocabulary: cat, dog | there: cat",
    ]


def test_long_values_are_shortened_to_where_they_differ() -> None:
    words = [f"word {number}" for number in range(500)]
    changed = [*words[:300], "sofa", *words[301:]]
    (text,) = identity_differences({"vocabulary": words}, {"vocabulary": changed})
    assert len(text) < 200
    assert "… 300, word 301" in text or "word 300, word 301" in text
    assert "sofa" in text
    (text,) = identity_differences({"vocabulary": words}, {"vocabulary": words[:-1]})
    assert "499" in text.split("|")[0]
    assert "499" not in text.split("|")[1]


def test_a_missing_cache_names_the_differences(tmp_path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UnusableFeatures) as problem:
            FeatureCache(folder, SOURCE, read_only=True)
        assert str(folder) in problem.value.what
    first = FeatureCache(tmp_path, SOURCE | {"vocabulary": ["cat"]})
    second = FeatureCache(tmp_path, {"backbone": "other"}, dtype="float32")
    assert first.folder != second.folder
    assert json.loads((first.folder / "identity.json").read_text())["source"]["vocabulary"] == ["cat"]
    with pytest.raises(UnusableFeatures, match=r"cat, dog.*\bcat\b"):
        FeatureCache(tmp_path, SOURCE, read_only=True)
    assert not list(tmp_path.rglob("*.part"))
    FeatureCache(tmp_path, {"backbone": "other"}, dtype="float32", read_only=True)


def test_a_damaged_identity_is_written_again(tmp_path) -> None:
    file = FeatureCache(tmp_path, SOURCE).folder / "identity.json"
    good = file.read_bytes()
    for bad in (b"", b"{", b"[]", good.replace(b"dog", b"dig")):
        file.write_bytes(bad)
        FeatureCache(tmp_path, SOURCE, read_only=True)
        assert file.read_bytes() == bad
        FeatureCache(tmp_path, SOURCE)
        assert file.read_bytes() == good


def test_other_types_raise(tmp_path) -> None:
    with pytest.raises(UnknownName, match="'bfloat16'"):
        FeatureCache(tmp_path, SOURCE, dtype="bfloat16")
    with pytest.raises(TypeError):
        FeatureCache(tmp_path, {"backbone": object()})
