"""What each dataset of the catalogue must have. A dataset that is registered is tested here."""

from __future__ import annotations

import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

from ca_seg.data.benchmarks.official import class_list
from ca_seg.data.catalogue import DATASETS, class_words, list_datasets, open_dataset
from ca_seg.errors import BadDataset, UnknownName

ROOT = Path(__file__).parents[2]
SHIPPED = [name for name, entry in DATASETS.items() if entry.shipped]


@pytest.mark.parametrize("name", DATASETS)
def test_an_entry_has_a_reader_and_a_summary(name):
    entry = DATASETS[name]
    reader = entry.module()
    assert list(signature(reader.open_dataset).parameters) == ["name", "root", "split"]
    assert "\n" not in entry.summary.strip()
    assert entry.summary.strip()
    assert reader.HOW_TO_GET.strip()
    if entry.class_list:
        assert set(class_words(name).synonyms) <= set(class_list(entry.class_list).names)


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in SHIPPED])
def test_without_a_folder_the_error_says_how_to_get_the_dataset(name):
    with pytest.raises(BadDataset) as caught:
        open_dataset(name)
    assert name in caught.value.what
    assert DATASETS[name].module().HOW_TO_GET in caught.value.fix


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_dataset_needs_no_folder(name):
    assert len(open_dataset(name)) > 0


def test_datasets_are_listed_and_a_misspelt_name_gives_close_matches():
    assert list_datasets() == list(DATASETS)
    with pytest.raises(UnknownName) as caught:
        open_dataset("scene")
    assert "scenes" in caught.value.close_matches
    with pytest.raises(UnknownName):
        class_words("scene")


def test_the_former_name_of_images_still_opens(make_folder):
    with pytest.warns(FutureWarning, match="images") as warned:
        dataset = open_dataset("pictures", str(make_folder() / "images"))
    assert dataset.image_ids == ("p0", "p1", "p2")
    assert len(warned) == 1


def test_listing_imports_nothing_heavy():
    code = (
        "import sys; from ca_seg.cli.main import main; assert main(['data', 'list']) == 0;"
        "heavy = {'torch', 'numpy', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    lines = process.stdout.splitlines()
    for name, entry in DATASETS.items():
        assert any(line.startswith(name) and entry.summary in line for line in lines)
