"""The shipped photographs: their files, their licences and their words. They are part of the project: no test skips."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest

from ca_seg.backbones.text.word_table import WordTable
from ca_seg.data.catalogue import class_words, open_dataset
from ca_seg.data.formats.folder import FolderDataset
from ca_seg.resources import resource_path
from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary

FOLDER = resource_path("datasets", "photographs")
LICENCES = {"CC BY 2.0": 14, "CC BY-SA 2.0": 11, "no known copyright restrictions": 1}


@pytest.fixture(scope="module")
def photographs() -> FolderDataset:
    return open_dataset("photographs")


def test_each_photograph_is_read_with_its_mask(photographs):
    assert len(photographs) == 26
    assert len(photographs.class_list) == 120
    occurring: set[int] = set()
    for sample in photographs:
        assert max(sample["image"].shape) in range(500, 641)
        assert sample["mask"].shape == sample["image"].shape[1:]
        assert (sample["mask"] != IGNORE_INDEX).float().mean() > 0.6
        occurring |= set(np.unique(sample["mask"]).tolist()) - {IGNORE_INDEX}
    assert len(occurring) == 70


def test_the_files_are_those_that_the_readme_describes():
    digest = hashlib.sha256()
    for part in ("images", "masks"):
        for file in sorted((FOLDER / part).iterdir()):
            digest.update(file.read_bytes())
    assert digest.hexdigest() in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_source_and_licence_of_each_photograph_are_listed(photographs):
    page = (FOLDER / "ATTRIBUTION.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\d+)\.jpg` \| \[(\d+)\]\(\S+=(\d+)\) \| <http://\S+/(\d+)_\w+\.jpg> \| (.+) \|$", page, re.M
    )
    assert sorted(file for file, *_ in rows) == list(photographs.image_ids)
    assert all(number == in_page == in_source for _, number, in_page, in_source, _ in rows)
    licences = [licence for *_, licence in rows]
    assert {licence: licences.count(licence) for licence in licences} == LICENCES
    assert photographs.class_list.source
    assert photographs.class_list.licence


def test_every_class_can_be_asked(photographs):
    """Each phrase is one entry of the word table, so that no class is the sum of other words."""
    table = WordTable.load(resource_path("checkpoints", "words"))
    words = class_words("photographs")
    vocabulary = Vocabulary.from_names(photographs.class_list.names, synonyms=words.synonyms)
    assert [phrase for phrase in vocabulary.concepts if table.tokens(phrase) != (phrase,)] == []
