"""ADE20K's scene parsing challenge: 150 classes numbered from 1; 0 is void and is not scored."""

from __future__ import annotations

from ca_seg.data.benchmarks.official import check_count, class_list, pairs_of, release
from ca_seg.data.dataset import SegmentationDataset
from ca_seg.errors import UnknownName

HOW_TO_GET = (
    "ADEChallengeData2016.zip of the MIT scene parsing benchmark, unpacked: images/validation, annotations/validation"
)
COUNTS: dict[str, int] = {"training": 20210, "validation": 2000}


def open_dataset(name: str, root: str, split: str | None) -> SegmentationDataset:
    split = split or "validation"
    folder = release(root, ("ADEChallengeData2016",), ("images", "annotations"), HOW_TO_GET)
    known = sorted(part.name for part in (folder / "images").iterdir() if part.is_dir())
    if split not in known:
        raise UnknownName("split", split, known)
    names = sorted(file.stem for file in (folder / "images" / split).glob("*.jpg"))
    pairs = pairs_of(names, folder / "images" / split, ".jpg", folder / "annotations" / split, ".png")
    check_count(len(pairs), COUNTS.get(split), f"{name}, {split}")
    return SegmentationDataset(folder, split, class_list(name), pairs)
