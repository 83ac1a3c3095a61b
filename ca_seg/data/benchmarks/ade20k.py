"""ADE20K's scene parsing challenge: 150 classes numbered from 1; 0 is void and is not scored."""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.data.entry import DatasetEntry
from ca_seg.errors import UnknownName

HOW = "ADEChallengeData2016.zip of the MIT scene parsing benchmark, unpacked: images/validation, annotations/validation"
COUNTS: dict[str, int] = {"training": 20210, "validation": 2000}


def _open(root: str | None, split: str | None) -> SegmentationDataset:
    split = split or "validation"
    folder = release(root, "ade20k", ("ADEChallengeData2016",), ("images", "annotations"), HOW)
    known = sorted(part.name for part in (folder / "images").iterdir() if part.is_dir())
    if split not in known:
        raise UnknownName("split", split, known)
    names = sorted(file.stem for file in (folder / "images" / split).glob("*.jpg"))
    pairs = pairs_of(names, folder / "images" / split, ".jpg", folder / "annotations" / split, ".png")
    check_count(len(pairs), COUNTS.get(split), f"ade20k, {split}")
    return SegmentationDataset(folder, split, class_list("ade20k"), pairs)


ENTRIES = (DatasetEntry("ade20k", "ADE20K, 150 classes of scenes", HOW, _open, "ade20k"),)
