"""Words for the objects of video clips, because DAVIS has only numbers for them.

{"bear": {"1": "bear"}, "bike-packing": {"1": "bicycle", "2": "person"}}      clip, object id, word
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ca_seg.bounded_files import read_yaml
from ca_seg.data.classes_json import read_json
from ca_seg.errors import BadDataset, UnknownName

ObjectWords = Mapping[str, Mapping[str, str]]
EXAMPLE = 'an example: {"bear": {"1": "bear"}}'


def object_words(root: Path, words: ObjectWords | Path | str | None, clips: list[str]) -> ObjectWords:
    """The words from a table, a JSON or YAML file, or words.json or words.yaml in `root`; empty without any of these.

    Args:
        root: the folder of the dataset
        words: the table, its file, or None
        clips: the names of all clips

    Raises:
        BadDataset: for a file that cannot be read, or holds no such table
        UnknownName: for a clip that there is not
    """
    source, content = _content(root, words)
    if not isinstance(content, Mapping):
        raise BadDataset(f"{source} is not a table of clips", fix=EXAMPLE)
    for clip, table in content.items():
        if clip not in clips:
            raise UnknownName(f"clip in {source}", str(clip), clips)
        if not isinstance(table, Mapping) or not all(isinstance(w, str) and w.strip() for w in table.values()):
            raise BadDataset(f"{source}: {clip!r} has no table of object ids and words", fix=EXAMPLE)
    return {clip: {str(object_id): word for object_id, word in table.items()} for clip, table in content.items()}


def words_of_clip(clip: str, object_ids: list[int], words: ObjectWords) -> tuple[str, ...]:
    """A word for each object; for a clip without words the clip's name up to its first "-" ("car-roundabout": car).

    Raises BadDataset where the words are not those of exactly these objects.
    """
    if clip not in words:
        return (word_of_name(clip),) * len(object_ids)
    ids = {str(object_id) for object_id in object_ids}
    missing, unknown = ids - set(words[clip]), set(words[clip]) - ids
    if missing:
        raise BadDataset(f"the words of {clip!r} leave out object {min(missing)}", fix=EXAMPLE)
    if unknown and ids:
        raise BadDataset(
            f"the words of {clip!r} name object {min(unknown)}", allowed=f"the objects of its masks: {object_ids}"
        )
    return tuple(words[clip][str(object_id)] for object_id in object_ids)


def word_of_name(clip: str) -> str:
    """The name of a clip up to its first "-"."""
    return clip.split("-")[0] or clip


def _content(root: Path, words: ObjectWords | Path | str | None) -> tuple[str, object]:
    """Where the words come from, for messages, and the table as it is there."""
    if isinstance(words, Mapping):
        return "words", words
    in_root = [root / name for name in ("words.json", "words.yaml") if (root / name).is_file()]
    files = in_root if words is None else [Path(words)]
    if len(files) > 1:
        raise BadDataset(f"{root} has both words.json and words.yaml", fix="keep one of them")
    if not files:
        return "words", {}
    path = files[0]
    if path.suffix not in (".yaml", ".yml"):
        return str(path), read_json(path)
    try:
        return str(path), read_yaml(path)
    except (OSError, ValueError) as error:
        raise BadDataset(f"{path} is not readable YAML ({error})") from error
