"""The words that an annotator types into a text field of the page, in place of the words of the labels.

kitten                    the label of that name, or the only label that there is
cat: kitten, tabby        the label "cat" by these words
cat: kitten; grass        several
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ca_seg.annotation.label_studio.config import LabelControl, split_words
from ca_seg.errors import UnknownName, UserError


def typed_text(context: Mapping[str, Any] | None) -> str:
    """The text of the last text field in the context of an interactive question; "" where there is none.

    Raises UserError for a context that has results of other kinds only, such as points.
    """
    results = (context or {}).get("result") or []
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise UserError("the context of the question has no list of results")
    texts = []
    for result in results:
        text = (result.get("value") or {}).get("text") if result.get("type") == "textarea" else None
        texts += [text] if isinstance(text, str) else [part for part in text or () if isinstance(part, str)]
    if results and not texts:
        kinds = ", ".join(sorted({str(result.get("type")) for result in results}))
        raise UserError(f"the question is asked by {kinds}", allowed="words in a text field (TextArea)")
    return texts[-1] if texts else ""


def prompt_phrases(text: str, control: LabelControl) -> dict[str, tuple[str, ...]]:
    """The words of each label that a typed text names.

    Args:
        text: as typed
        control: with the labels that there are

    Raises:
        UnknownName: for a label that there is not
        UserError: for words that belong to no label, and for a text without words
    """
    phrases: dict[str, tuple[str, ...]] = {}
    for part in filter(str.strip, text.split(";")):
        name, colon, words = part.partition(":")
        if colon:
            _add(phrases, _label(name.strip(), control), split_words(words))
            continue
        for word in split_words(part):
            label = _label_of(word, control)
            _add(phrases, label, control.phrases.get(label, ()) if label.casefold() == word.casefold() else (word,))
    if not phrases or not all(phrases.values()):
        raise UserError(f"the text {text!r} has a label without words", allowed="cat: kitten, tabby; grass")
    return phrases


def _add(phrases: dict[str, tuple[str, ...]], label: str, words: tuple[str, ...]) -> None:
    phrases[label] = (*phrases.get(label, ()), *words)


def _label(name: str, control: LabelControl) -> str:
    for label in control.labels:
        if label.casefold() == name.casefold():
            return label
    raise UnknownName("label", name, control.labels)


def _label_of(word: str, control: LabelControl) -> str:
    """The label of that name; else the one that is asked by this word; else the only label."""
    for label in control.labels:
        if label.casefold() == word.casefold():
            return label
    for label, words in control.phrases.items():
        if word.casefold() in (phrase.casefold() for phrase in words):
            return label
    if len(control.labels) == 1:
        return control.labels[0]
    raise UserError(
        f"the word {word!r} is no label, and belongs to none of {', '.join(control.labels)}",
        fix=f"write the label first, such as {control.labels[0]}: {word}",
    )
