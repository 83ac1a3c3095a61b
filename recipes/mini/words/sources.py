"""Which words the table holds, and where they come from.

    objects.yaml, stuff.py   the words of the composed scenes
    class_names.yaml         the classes of segmentation benchmarks
    everyday.yaml            everyday names, synonyms, American and British spellings (written for this table)
    emoji.json               short names of emoji (`python -m recipes.mini.fetch` gets it)
    WordNet                  common concrete nouns and their synonyms

A noun is common if its words are single tokens of MiniLM (the 30,000 most frequent pieces of English), or if it occurs
in WordNet's sense-tagged texts.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from recipes.mini.fetch import CACHE
from recipes.mini.scenes.stuff import KINDS
from recipes.mini.words.wordnet import VISIBLE, Nouns, frequent_nouns

HERE = Path(__file__).parent
EMOJI_WORDS = {  # category: the largest number of words in a short name; longer names describe a scene
    "People & Body": 1,
    "Animals & Nature": 3,
    "Food & Drink": 3,
    "Travel & Places": 2,
    "Activities": 2,
    "Objects": 2,
}


def listed(name: str) -> list[str]:
    """The words of a YAML file of comma-separated groups."""
    groups = yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
    return [word.strip().lower() for group in groups.values() for word in group.split(",") if word.strip()]


def scene_words() -> list[str]:
    objects = yaml.safe_load((HERE.parent / "scenes" / "objects.yaml").read_text(encoding="utf-8"))
    return [*objects["train"], *KINDS, *objects["held_out"]]


def emoji_names(cache: Path = CACHE) -> list[str]:
    file = cache / "noto" / "emoji.json"
    if not file.is_file():
        raise SystemExit(f"{file} is missing: run `python -m recipes.mini.fetch` first")
    names = []
    for emoji in json.loads(file.read_text(encoding="utf-8")):
        for short in emoji["short_names"]:
            words = re.split("[_-]", short)
            if len(words) <= EMOJI_WORDS.get(emoji["category"], 0) and all(len(word) > 1 for word in words):
                names.append(" ".join(words))
    return names


def wordnet_nouns(vocabulary: set[str], known: list[str]) -> list[str]:
    """Common concrete nouns, and synonyms of them and of the `known` words."""
    nouns = Nouns.read()

    def common(word: str) -> bool:
        return all(part in vocabulary for part in re.split("[ -]", word))

    tagged = [
        word for word in frequent_nouns() if (s := nouns.concrete(word, 3)) and (common(word) or s.lexfile in VISIBLE)
    ]
    single = [word for word in nouns.senses if word in vocabulary and len(word) > 2 and nouns.concrete(word, 2)]
    candidates = [synonym for word in [*known, *tagged, *single] for synonym in nouns.synonyms(word)]
    synonyms = [s for s in candidates if common(s) or (" " not in s and nouns.concrete(s, 1).lexfile in VISIBLE)]
    return [*tagged, *single, *synonyms]


def key(word: str) -> str:
    """The spelling without hyphens, by which duplicates are recognised: `ping pong` for `ping-pong`."""
    return word.replace("-", " ")


def all_words(vocabulary: set[str]) -> list[str]:
    """Each word once; the words of the scenes come first."""
    known = [*scene_words(), *listed("class_names.yaml"), *listed("everyday.yaml"), *emoji_names()]
    words: dict[str, str] = {}
    for word in [*known, *wordnet_nouns(vocabulary, known)]:
        if re.fullmatch("[a-z]+([ -][a-z]+)*", word):
            words.setdefault(key(word), word)
    return list(words.values())
