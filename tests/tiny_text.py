"""Tiny tokenizers of the real kind (transformers' fast tokenizer over a word list), for tests of text sides."""

from __future__ import annotations

import re

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CHAT = (
    "{% for m in messages %}<|im_start|> {{ m['role'] }} "
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{{ m['content'][0]['text'] }}{% endif %} <|im_end|> "
    "{% endfor %}{% if add_generation_prompt %}<|im_start|> assistant{% endif %}"
)
WORDS = ["a", "photo", "of", "cat", "dog", "grass", "sky", "traffic", "light", "red", "the", "on", "in"]


def tiny_tokenizer(
    *,
    length: int,
    start: str | None = None,
    end: str | None = "</s>",
    pad: str = "<pad>",
    extra_words: tuple[str, ...] = (),
) -> PreTrainedTokenizerFast:
    """Words are tokens; `start` and `end` are put around a text, as T5's end (`</s>`) or CLIP's start and end."""
    special = [pad, "<unk>", *[s for s in (start, end) if s]]
    vocabulary = {word: i for i, word in enumerate([*special, *WORDS, *extra_words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    around = " ".join(filter(None, [start, "$A", end]))
    marks = [(s, vocabulary[s]) for s in (start, end) if s]
    tokenizer.post_processor = processors.TemplateProcessing(single=around, special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        unk_token="<unk>",
        bos_token=start,
        eos_token=end,
        model_max_length=length,
    )


def chat_tokenizer(head: str, tokens: int) -> PreTrainedTokenizerFast:
    """Words and chat marks are tokens; as many start tokens as make the template's `head` so many tokens."""
    special = ["<pad>", "<unk>", "<s>", "<|im_start|>", "<|im_end|>"]
    words = re.sub(r"<\|.*?\|>", " ", head).split()
    vocabulary = {word: i for i, word in enumerate([*special, *dict.fromkeys([*words, *WORDS, "assistant", "user"])])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(mark, special=True) for mark in special])
    missing = tokens - len(tokenizer.encode(head).ids)
    if missing > 0:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(["<s>"] * missing + ["$A"]), special_tokens=[("<s>", vocabulary["<s>"])]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="<|im_end|>"
    )
