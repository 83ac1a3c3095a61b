"""A vocabulary in a YAML file: which classes to look for, and by which phrases.

classes:
  - cat                                   asked by its own name
  - name: grass
    synonyms: [lawn, meadow]              asked by its name and by these phrases
  - name: vehicle
    phrases: [car, truck, bus]            asked by these phrases, and not by its name
background: grass                         optional: the class that stands for everything else
template: "a photo of a {}"               optional: a sentence to put each phrase into
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ca_seg.bounded_files import read_yaml
from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Vocabulary, check_single_words, check_template

KEYS = ("classes", "background", "template")
CLASS_KEYS = ("name", "synonyms", "phrases")
EXAMPLE = "an example: classes: [cat, {name: grass, synonyms: [lawn]}]"


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a vocabulary file.

    Raises:
        UserError: for a file that is missing, is not YAML or describes no vocabulary; it names the file

    Example:
        >>> read_vocabulary(Path("configs/vocabularies/scenes.yaml"))
    """
    try:
        content = read_yaml(path)
    except (OSError, ValueError) as problem:
        raise UserError(f"the vocabulary {path} cannot be read ({problem})", fix=EXAMPLE) from problem
    try:
        return _vocabulary(content)
    except UserError as problem:
        raise UserError(f"{path}: {problem.what}", allowed=problem.allowed, fix=problem.fix or EXAMPLE) from problem


def _vocabulary(content: Any) -> Vocabulary:
    if not isinstance(content, dict) or not isinstance(content.get("classes"), list):
        raise UserError("there is no list of classes", fix=EXAMPLE)
    _check_keys(content, KEYS)
    names, phrases = [], []
    for entry in content["classes"]:
        described = entry if isinstance(entry, dict) else {"name": entry}
        _check_keys(described, CLASS_KEYS)
        name = described.get("name")
        if not isinstance(name, str):
            raise UserError(f"a class is {entry!r:.60}, which is no word", fix='quote words such as "no" or "1"')
        if "synonyms" in described and "phrases" in described:
            raise UserError(f"class {name!r} has synonyms and phrases", allowed="one of the two")
        words = described.get("synonyms", described.get("phrases", []))
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise UserError(f"the words of class {name!r} are {words!r:.60}", allowed="a list of words")
        names.append(name.strip())
        phrases.append(words if "phrases" in described else [name, *words])
        check_single_words(phrases[-1])
    template, background = content.get("template", "{}"), content.get("background")
    if not isinstance(template, str):
        raise UserError(f"the template is {template!r:.60}", allowed='a sentence such as "a photo of a {}"')
    check_template(template)
    if background is not None and background not in names:
        raise UnknownName("background class", str(background), names)
    in_template = tuple(tuple(_phrase(word.strip(), template) for word in words) for words in phrases)
    return Vocabulary(tuple(names), in_template, None if background is None else names.index(background))


def _phrase(word: str, template: str) -> str:
    return template.replace("{}", word) if word else ""


def _check_keys(content: dict, known: tuple[str, ...]) -> None:
    for key in content:
        if key not in known:
            raise UnknownName("key", str(key), known)
