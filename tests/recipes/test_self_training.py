"""Self-training of `mini`: labels from captions, views of scenes, the loss against a plain loop, the curve."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from ca_seg.backbones.load import load_backbone
from ca_seg.backbones.pixel_codec import PixelCodec
from recipes.mini import ablation
from recipes.mini.curve import draw_curve, join_curves
from recipes.mini.images import pixels, resized
from recipes.mini.model import fresh_transformer
from recipes.mini.monitor import monitor
from recipes.mini.restyle import restyled
from recipes.mini.scenes.compose import SceneComposer
from recipes.mini.scenes.objects import ObjectLibrary
from recipes.mini.self_batches import PLANS, LabelledScenes, SelfBatches
from recipes.mini.self_labels import SelfLabeller
from recipes.mini.self_train import begin, label_loss, step_loss


@pytest.fixture(scope="module")
def composer() -> SceneComposer:
    """Squares and discs of plain colours."""
    square = np.full((48, 48, 4), (220, 30, 30, 255), np.uint8)
    disc = np.zeros((48, 48, 4), np.uint8)
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    disc[y**2 + x**2 < 1] = (30, 30, 220, 255)
    return SceneComposer(ObjectLibrary.from_images({"square": [square], "disc": [disc]}))


@pytest.fixture(scope="module")
def codec(composer) -> PixelCodec:
    scenes = [composer.compose(np.random.default_rng(i)).image for i in range(8)]
    codec = PixelCodec()
    codec.fit(pixels(np.stack(scenes)))
    return codec


@pytest.fixture
def labelled(composer, tmp_path):
    """A folder with two shards of scenes whose labels are their masks, with some pixels unsure."""
    for shard in range(2):
        scenes = [composer.compose(np.random.default_rng((shard, i))) for i in range(3)]
        labels = np.stack([scene.mask for scene in scenes])
        labels[:, :8] = 0
        images = np.stack([scene.image for scene in scenes])
        np.savez(tmp_path / f"shard_{shard:03d}.npz", images=images, labels=labels)
    return tmp_path


def test_the_label_loss_equals_a_plain_loop_over_enlarged_maps():
    torch.manual_seed(0)
    scores = torch.randn(2, 3, 25)
    labels = torch.from_numpy(np.random.default_rng(0).integers(-1, 3, (2, 20, 20)))
    maps = interpolate(scores.softmax(dim=1).view(2, 3, 5, 5), size=(20, 20), mode="bilinear", align_corners=False)
    total = weight = 0.0
    for b in range(2):
        for c in range(3):
            places = (labels[b] == c).nonzero().tolist()
            area = max(1.0, len(places) / 16)
            for y, x in places:
                total -= area**-0.25 * math.log(maps[b, c, y, x])
                weight += area**-0.25
    assert float(label_loss(scores, labels)) == pytest.approx(total / weight, rel=1e-5)


def test_a_loss_without_any_label_is_zero():
    assert float(label_loss(torch.randn(1, 2, 9), torch.full((1, 6, 6), -1))) == 0


def test_restyled_scenes_keep_their_size_and_most_of_their_structure(composer):
    image = composer.compose(np.random.default_rng(5)).image
    restyles = [restyled(image, np.random.default_rng(i)) for i in range(60)]
    assert all(r.dtype == np.uint8 and r.shape == image.shape for r in restyles)
    changed = [r for r in restyles if (r != image).any()]
    assert 20 <= len(changed) <= 45
    assert any((r[..., 0] == r[..., 2]).all() for r in restyles)
    grey = image.mean(axis=2).ravel()
    assert min(np.corrcoef(grey, r.mean(axis=2).ravel())[0, 1] for r in restyles) > 0.8


def test_a_view_shows_the_same_part_of_image_and_labels(labelled, monkeypatch):
    monkeypatch.setattr("recipes.mini.self_batches.restyled", lambda image, rng: image)
    scenes = LabelledScenes(labelled)
    assert len(scenes) == 6
    for number in range(6):
        image, labels = scenes.view(number, np.random.default_rng(number), 256, 128)
        straight, mirrored = (
            resized(pixels(scenes.images[number][None, :, ::step].copy()), 256)[0] for step in (1, -1)
        )
        step = 1 if torch.allclose(image, straight, atol=1e-6) else -1
        torch.testing.assert_close(image, straight if step == 1 else mirrored)
        np.testing.assert_array_equal(labels, scenes.labels[number][:, ::step])


def test_each_plan_asks_what_its_views_show_and_other_words(labelled, composer):
    batches = SelfBatches(LabelledScenes(labelled), 0, composer.words)
    sides = set()
    for number in range(24):
        batch = batches[number]
        again = batches[number]
        torch.testing.assert_close(batch.images, again.images)
        sides.add(batch.images.shape[-1])
        assert len(set(batch.words)) == len(batch.words) == len(composer.words)
        assert batch.labels.shape[1:] == (batch.images.shape[-1] // 2,) * 2
        shown = {composer.words[batch.words[i]] for i in batch.labels.unique() if i >= 0}
        assert shown == {word for caption in batch.captions for word in caption}
    assert sides == {plan.side for plan in PLANS}
    assert sum(plan.fraction for plan in PLANS) == pytest.approx(1)


def test_labels_are_words_of_the_caption(composer, codec):
    torch.manual_seed(0)
    labeller = SelfLabeller(fresh_transformer(0).eval(), codec, torch.randn(len(composer.words), 384))
    scene = composer.compose(np.random.default_rng(3))
    indices = [composer.words.index(word) for word in scene.words]
    labels = labeller.labels(scene.image, indices)
    assert labels.dtype == np.uint8
    assert labels.shape == scene.mask.shape
    assert set(np.unique(labels)) <= {0, *(i + 1 for i in indices)}
    assert (labeller.labels(scene.image, indices[:1]) == indices[0] + 1).all()


def test_training_on_labels_improves_the_maps_that_the_monitor_scores(labelled, composer, codec):
    transformer = fresh_transformer(0)
    torch.manual_seed(0)
    vectors = {word: torch.randn(384) for word in composer.words}
    table = torch.stack(list(vectors.values()))
    scenes = LabelledScenes(labelled)
    images = pixels(scenes.images)
    batch = SelfBatches(scenes, 0, composer.words)[0]
    batch = replace(
        batch, images=images, words=list(range(len(table))), labels=torch.from_numpy(scenes.labels).long() - 1
    )
    latents = codec.encode(images).latent_dist.mean
    optimizer = torch.optim.AdamW(transformer.parameters(), lr=1e-3)

    def scores():
        average = {name: p.detach().clone() for name, p in transformer.named_parameters()}
        return monitor(transformer, average, codec, vectors, composer, 1, scenes=4)

    before = scores()
    for number in range(12):
        loss = step_loss(transformer, latents, batch, table, np.random.default_rng(number))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = scores()
    assert after[1] > before[1]
    assert all(0 <= score <= 1 for score in after)


def test_a_folder_without_labels_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="self_labels"):
        LabelledScenes(tmp_path)


def test_the_curve_of_a_second_stage_follows_that_of_the_first(tmp_path):
    before, after, joined = (tmp_path / name for name in ("before.csv", "after.csv", "joined.csv"))
    before.write_text("step,images,seconds,flow,candidate,full_miou\n100,1000,60,1.0,0.5,0.3\n200,2000,120,0.9,0.4,\n")
    after.write_text("step,images,seconds,flow,labels,full_miou\n50,400,30,0.8,0.6,0.5\n")
    last = join_curves(before, after, joined)
    rows = list(csv.DictReader(joined.read_text().splitlines()))
    assert [int(row["images"]) for row in rows] == [1000, 2000, 2400]
    assert (last["step"], last["seconds"]) == ("250", "150")
    assert rows[0]["labels"] == rows[2]["candidate"] == ""
    draw_curve(joined, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_a_curve_without_scores_has_no_panel_for_them(tmp_path):
    scored, unscored = tmp_path / "scored.csv", tmp_path / "unscored.csv"
    scored.write_text("step,images,seconds,flow,full_miou\n100,1000,60,1.0,\n200,2000,120,0.9,0.5\n")
    unscored = tmp_path / "unscored.csv"
    unscored.write_text("step,images,seconds,flow,full_miou\n100,1000,60,1.0,\n200,2000,120,0.9,nan\n")
    begun = tmp_path / "begun.csv"
    begun.write_text("step,images,seconds,flow,full_miou\n")
    widths = {}
    for curve in (scored, unscored, begun):
        draw_curve(curve, curve.with_suffix(".png"))
        widths[curve.stem] = Image.open(curve.with_suffix(".png")).width
    assert widths["scored"] == 2 * widths["unscored"] == 2 * widths["begun"]


def test_a_run_after_another_keeps_the_curve_of_before_both(tmp_path, codec):
    weights, first, second = (tmp_path / name for name in ("weights", "first", "second"))
    for folder in (weights, first, second):
        folder.mkdir()
    (weights / "curve.csv").write_text("step,images,seconds\n10,100,6\n")
    begin(first, weights, None, codec)
    (first / "curve.csv").write_text("step,images,seconds\n5,50,3\n")
    begin(second, weights, first, codec)
    rows = list(csv.DictReader((second / "before.csv").read_text().splitlines()))
    assert [int(row["images"]) for row in rows] == [100, 150]
    assert set(torch.load(second / "codec.pt", weights_only=True)) == set(codec.state_dict())


def test_the_ablation_reads_every_layer_and_timestep():
    backbone = load_backbone("mini", resolution=64)
    image, mask = torch.rand(3, 64, 64), torch.zeros(64, 64, dtype=torch.long)
    mask[32:] = 2
    tables = ablation.run(backbone, ("cat", "grass", "sky"), iter([(image, mask)]))
    assert len(tables["timestep"]) == len(ablation.TIMESTEPS)
    rows = tables["space and layer"]
    assert sum(", layer " in name for name in rows) == 3 * backbone.layers
    layers = backbone.card.layers
    assert rows["output, card's layers, softmax"] == tables["layers and samples"][f"layers {tuple(layers)}"]
