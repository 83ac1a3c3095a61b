"""`ca-seg segment PHOTO ... --concepts cat grass`: one's own images. Words may stand before or after the images."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ca_seg.cli.parser import JobParser, settings_of
from ca_seg.cli.stopping import when_stopped
from ca_seg.data.inputs import looks_like_image, open_images
from ca_seg.errors import UnknownName, UserError
from ca_seg.jobs.arguments import check_folder
from ca_seg.jobs.instances import instance_files, save_instances
from ca_seg.jobs.segment import new_segmenter
from ca_seg.jobs.segmentation import Segmentation
from ca_seg.jobs.segmentation_files import DEFAULT_FORMATS, check_labels, cutout_file, default_file, label_formats
from ca_seg.jobs.segmenter import Segmenter, SegmentSettings
from ca_seg.jobs.words import warn_of_absent_words
from ca_seg.output_files import check_apart, check_outputs
from ca_seg.vocabulary import is_auto

DESCRIPTION = (
    "Segment images by words: ca-seg segment PHOTO ... --concepts cat grass sky. PHOTO is a file, a folder, a glob in "
    "quotes or - for standard input. Words may also stand without --concepts, before or after the images."
)


class Written(Protocol):
    """The options that say what is written."""

    cutout: tuple[str, ...]
    instances: bool
    formats: tuple[str, ...]
    json: bool
    out: str


@dataclass(frozen=True)
class SegmentCommand(SegmentSettings):
    """Options of `ca-seg segment`.

    Args:
        concepts: the words to look for; auto: the words of each image's caption by the captioner
        cutout: classes whose pixels are also written as transparent PNGs
        instances: also write the connected parts of each class, numbered: a 16-bit PNG and a JSON
        formats: what is written: overlay, mask, heatmaps, json, and any label format
        json: print one JSON object per image in place of text
        out: the folder of the files
    """

    concepts: tuple[str, ...] = ()
    cutout: tuple[str, ...] = ()
    instances: bool = False
    formats: tuple[str, ...] = DEFAULT_FORMATS
    json: bool = False
    out: str = "out/segment"


def run(arguments: Sequence[str]) -> int:
    """0 when every image was segmented, 1 when some were skipped."""
    parser = JobParser("ca-seg segment", DESCRIPTION, SegmentCommand)
    command, positional = parser.parse_with_positional(arguments)
    tokens = (*positional, *command.concepts)
    paths = [text for text in tokens if looks_like_image(text)]
    words = [text for text in tokens if not looks_like_image(text)]
    if not paths:
        missing = f": there is no {' and no '.join(map(repr, positional))}" if positional else ""
        example = "an example: ca-seg segment photo.jpg --concepts cat grass"
        raise UserError(f"no image was given{missing}", allowed="a file, a folder, a glob in quotes, or -", fix=example)
    if not words:
        raise UserError("no word was given", fix="name what to look for: --concepts cat grass sky")
    images = open_images(paths)  # a missing file ends it here, before the backbone is loaded
    check_folder(command.out)
    check_outputs_of_images(command, paths)
    if is_auto(words):
        check_one_class_list(command, paths, "leave it out, or name the words: --concepts cat grass")
    settings = settings_of(command, SegmentSettings)
    segmenter = new_segmenter(words, settings)
    for name in command.cutout:
        if not isinstance(segmenter, Segmenter):
            raise UserError("cutout names a class, and classes differ from image to image", fix="leave cutout out")
        if name not in segmenter.classes:
            raise UnknownName("class to cut out", name, segmenter.classes)
    if isinstance(segmenter, Segmenter):
        check_labels(Path(command.out), command.formats, segmenter.classes)
    say(segmenter.decision)
    say(segmenter.backbone.card.limits and f"{segmenter.backbone.card.name}: {segmenter.backbone.card.limits}")
    failed: list[UserError] = []
    absent: list[str] = []  # images in which none of the words is likely
    count = 0
    with when_stopped(lambda: written_so_far(count, command)):
        for segmentation in segmenter.each(images, failed.append):
            write(segmentation, command)
            absent += [] if segmentation.likely else [segmentation.image_id]
            count += 1
    warn_of_absent_words(segmenter.backbone.card.name, absent)
    return status(failed, count)


def check_outputs_of_images(command: Written, paths: Sequence[str]) -> None:
    """Raises UserError where a file of one image would replace another image, or a folder would read its outputs."""
    out = Path(command.out)
    for path in paths:
        if Path(path).is_dir():
            check_apart(out, Path(path))
    inputs = [(image.image_id, image.path) for image in open_images(paths)]
    names = [name for name in command.formats if name in DEFAULT_FORMATS]
    outputs = [out / default_file(image_id, name) for image_id, _ in inputs for name in names]
    outputs += [out / cutout_file(image_id, name) for image_id, _ in inputs for name in command.cutout]
    if command.instances:
        outputs += [out / file for image_id, _ in inputs for file in instance_files(image_id)]
    files = [path for _, path in inputs if path is not None]
    check_outputs(outputs, files)
    for folder in (out / name for name in label_formats(command.formats)):
        nameless = next((path for path in files if not path.suffix), None)
        if nameless is not None:
            raise UserError(f"{nameless} has no ending, and labels name images with theirs", fix="rename it")
        inside = next((path for path in files if path.resolve().is_relative_to(folder.resolve())), None)
        if inside is not None:
            raise UserError(f"{inside} is inside {folder}, where labels are written", fix="give another out")


def check_one_class_list(command: Written, paths: Sequence[str], fix: str) -> None:
    """Raises UserError for label formats of several images whose classes are each image's own."""
    names = label_formats(command.formats)
    if names and len(list(open_images(paths))) > 1:
        raise UserError(
            f"the format {names[0]} has one list of classes for all images, and here each image has its own",
            allowed=f"formats {', '.join(DEFAULT_FORMATS)}; {names[0]} for one image, in an out of its own",
            fix=fix,
        )


def written_so_far(count: int, command: Written) -> str:
    """What is safe when the command is stopped, and how to go on."""
    return f"{count} images are written to {command.out}; the same command again begins anew"


def write(segmentation: Segmentation, command: Written) -> None:
    """Write the files of one image, and say it."""
    paths = segmentation.save(command.out, command.formats)
    paths += [segmentation.save_cutout(name, command.out) for name in command.cutout]
    paths += save_instances(segmentation, command.out) if command.instances else []
    if command.json:
        print(json.dumps(segmentation.as_dict() | {"files": [str(path) for path in paths]}, ensure_ascii=False))
        return
    parts = ", ".join(f"{name} {100 * fraction:.0f} %" for name, fraction in segmentation.fractions().items())
    first = paths[0] if paths else Path(command.out)
    confidence = f"mean confidence {segmentation.confidence.mean():.2f}"
    note = "" if segmentation.likely else ", none of the words is likely"
    print(f"{segmentation.image_id}: {parts} ({confidence}{note}); {first}")


def status(failed: Sequence[UserError], written: int) -> int:
    """1 where some images were skipped, which is said, else 0. Raises the reason where it was the only image."""
    if not written and len(failed) == 1:
        raise failed[0]
    for problem in failed:
        say(f"skipped: {problem}")
    return 1 if failed else 0


def say(text: str) -> None:
    """To stderr, so that --json leaves nothing but JSON on stdout."""
    if text:
        print(text, file=sys.stderr)
