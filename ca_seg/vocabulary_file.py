"""A vocabulary in a YAML file: which classes to look for, and by which words.

classes:
  - cat                                   asked by its own name
  - name: grass
    synonyms: [lawn, meadow]              asked by its name and by these
  - name: vehicle
    phrases: [car, truck, bus]            asked by these alone
background: grass                         optional: the class that stands for "nothing else"
template: "a photo of a {}"               optional: a sentence to put each phrase into
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ca_seg.errors import UnknownName, UserError
from ca_seg.vocabulary import Vocabulary

KEYS = ("classes", "background", "template")
CLASS_KEYS = ("name", "synonyms", "phrases")
EXAMPLE = "an example: classes: [cat, {name: grass, synonyms: [lawn]}]"


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in a file. Raises UserError, naming the file, for all that is wrong with it."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Once)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as problem:
        reason = " ".join(str(problem).split())
        raise UserError(f"the vocabulary {path} cannot be read ({reason})", fix=EXAMPLE) from problem
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
        own = entry if isinstance(entry, dict) else {"name": entry}
        _check_keys(own, CLASS_KEYS)
        if not isinstance(own.get("name"), str):
            raise UserError(f"a class is {entry!r}, which is no word", fix='quote words such as "no" or "1"')
        if "synonyms" in own and "phrases" in own:
            raise UserError(f"class {own['name']!r} has synonyms and phrases", allowed="one of the two")
        further = own.get("synonyms", own.get("phrases", []))
        if not isinstance(further, list) or not all(isinstance(word, str) for word in further):
            raise UserError(f"the words of class {own['name']!r} are {further!r}", allowed="a list of words")
        names.append(own["name"].strip())
        phrases.append([*([] if "phrases" in own else [own["name"]]), *further])
    template, background = content.get("template", "{}"), content.get("background")
    if not isinstance(template, str) or "{}" not in template:
        raise UserError(f"the template {template!r} has no place for the word", fix="write {} where it goes")
    if background is not None and background not in names:
        raise UserError(f"the background {background!r} is no class", allowed=", ".join(names))
    words = tuple(tuple(_phrase(word.strip(), template) for word in own) for own in phrases)
    return Vocabulary(tuple(names), words, None if background is None else names.index(background))


def _phrase(word: str, template: str) -> str:
    return template.replace("{}", word) if word else ""


def _check_keys(content: dict, known: tuple[str, ...]) -> None:
    for key in content:
        if key not in known:
            raise UnknownName("key", str(key), known)


class _Once(yaml.SafeLoader):
    """YAML keeps the last of two equal keys without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = [key for place, key in enumerate(keys) if key in keys[:place]]
        if twice:
            raise yaml.YAMLError(f"the key {twice[0]!r} stands twice, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)
