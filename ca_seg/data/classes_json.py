"""classes.json, the class list of a user's own dataset, and JSON files in general.

    {"ignore": [0], "classes": {"7": "cat", "151": "grass"}, "kinds": {"7": "object", "151": "stuff"}}

"classes"    the name of each id in the masks          "ignore"               ids that are void (optional)
"kinds"      of every class, or of none (optional)     "source", "licence"    text (optional)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ca_seg.bounded_files import parse_json, read_text
from ca_seg.data.classes import EXAMPLE, MAX_ID, ClassList
from ca_seg.errors import BadDataset

KEYS = ("classes", "ignore", "kinds", "source", "licence")


def read_classes(path: Path) -> ClassList:
    """The class list in a classes.json. Indices follow the ids in rising order, whatever the order in the file.

    Raises:
        BadDataset: for a file that is missing, is not JSON, has an unknown key (with a misspelt "ignore" the void
            would be scored) or describes no class list; it names the file
    """
    content = read_json(path)
    try:
        return parse_classes(content)
    except BadDataset as error:
        raise BadDataset(f"{path}: {error.what}", allowed=error.allowed, fix=error.fix) from error


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises BadDataset for one that is missing, broken, or has a key twice."""
    try:
        return parse_json(read_text(path), unique_keys=True)
    except FileNotFoundError as error:
        raise BadDataset(f"{path} is missing", fix=EXAMPLE if path.name == "classes.json" else "") from error
    except (OSError, ValueError) as error:
        raise BadDataset(f"{path} is not readable JSON ({error})") from error


def parse_classes(content: Any) -> ClassList:
    """The class list in the content of a classes.json. Raises BadDataset where it describes none."""
    if not isinstance(content, dict) or not isinstance(content.get("classes"), dict):
        raise BadDataset('there is no "classes" with ids and names', fix=EXAMPLE)
    unknown = [key for key in content if key not in KEYS]
    if unknown:
        raise BadDataset(f"unknown key {unknown[0]!r}", allowed=", ".join(KEYS), fix=EXAMPLE)
    names, kinds = _by_id(content, "classes"), _by_id(content, "kinds")
    if kinds and kinds.keys() != names.keys():
        odd = min(kinds.keys() ^ names.keys())
        raise BadDataset(f'id {odd} is not in both "classes" and "kinds"', fix="give a kind to every class, or to none")
    ignore = content.get("ignore", [])
    if not isinstance(ignore, list) or any(type(class_id) is not int for class_id in ignore):
        raise BadDataset(f'"ignore" is {ignore!r:.60}', allowed="a list of ids, such as [0, 255]")
    about = {key: content.get(key, "") for key in ("source", "licence")}
    if any(not isinstance(text, str) for text in about.values()):
        raise BadDataset('"source" and "licence" must be text')
    return ClassList(tuple(names.values()), tuple(names), tuple(ignore), tuple(kinds.values()), **about)


def _by_id(content: dict, key: str) -> dict[int, str]:
    """The words of "classes" or "kinds" in the order of their ids."""
    table = content.get(key, {})
    if not isinstance(table, dict) or any(not isinstance(word, str) for word in table.values()):
        raise BadDataset(f"{key!r} is not a table of ids and words", fix=EXAMPLE)
    words = {_id(text): word.strip() for text, word in table.items()}
    if len(words) != len(table):
        raise BadDataset(f"two keys in {key!r} are the same id", fix='write ids without leading zeros: "7"')
    return dict(sorted(words.items()))


def _id(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 5:
        raise BadDataset(f"the id {text!r:.60} is not a number", allowed=f"0 to {MAX_ID}", fix=EXAMPLE)
    return int(text)
