"""Refinement by SAM, SAM 2 and SAM 3: the classes of transformers with small random weights."""

from __future__ import annotations

import json

import pytest
import torch

import ca_seg
from ca_seg import PromptableSegmenter, boxes_and_points
from ca_seg.cli.main import main
from ca_seg.errors import OutOfRange, UserError, WeightsUnavailable
from ca_seg.refine.sam import FLOOR, sam_refine
from ca_seg.refine.steps import Refinement, refinement
from tests.refine.small_sam import SIDE, SMALL

GENERATOR = torch.Generator().manual_seed(0)
IMAGE = torch.rand(1, 3, 40, 90, generator=GENERATOR)
SCORES = torch.rand(1, 3, 4, 9, generator=GENERATOR).softmax(1)


@pytest.fixture(scope="module", params=SMALL)
def segmenter(request):
    return PromptableSegmenter(*SMALL[request.param]())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the weights of a small SAM 2, as they are published."""
    path = tmp_path_factory.mktemp("sam2")
    for part in SMALL["sam2"]():
        part.save_pretrained(path)
    return path


def _stock_mask(segmenter, prompt):
    """The mask of one prompt by one stock call: image and prompt together."""
    processor = segmenter.processor
    pixels = (IMAGE[0] * 255).round().to(torch.uint8)
    inputs = processor(
        images=pixels,
        input_boxes=[[list(prompt.corners)]],
        input_points=[[[list(point) for point in prompt.points]]],
        input_labels=[[list(prompt.labels)]],
        return_tensors="pt",
    )
    sizes = [inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
    inputs = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
    with torch.no_grad():
        logits = segmenter.model(**inputs, multimask_output=False).pred_masks
    return processor.post_process_masks(logits, *sizes, binarize=False)[0][0, 0].sigmoid()


def test_masks_are_those_of_the_stock_call(segmenter):
    prompts = boxes_and_points(SCORES, 40, 90)
    assert {len(prompt.points) for prompt in prompts} == {1, 2}  # some are filled up
    masks = list(segmenter.masks(IMAGE[0], prompts))
    assert float(masks[0].std()) > 0
    for prompt, mask in zip(prompts, masks, strict=True):
        torch.testing.assert_close(mask, _stock_mask(segmenter, prompt), atol=1e-5, rtol=1e-4)


def test_coordinates_are_scaled_with_the_image(segmenter):
    """SAM scales the long side to its resolution, SAM 2 and SAM 3 each side."""
    prompts = boxes_and_points(SCORES, 40, 90)
    inputs = segmenter.inputs(IMAGE[0], prompts)
    keeps_ratio = "reshaped_input_sizes" in inputs
    height = round(40 * SIDE / 90) if keeps_ratio else SIDE
    scale = torch.tensor([SIDE / 90, height / 40])
    for index, prompt in enumerate(prompts):
        points = torch.tensor(prompt.points) * scale
        torch.testing.assert_close(inputs["input_points"][0, index, : len(points)].float(), points)
        box = torch.tensor(prompt.corners) * scale.repeat(2)
        torch.testing.assert_close(inputs["input_boxes"][0, index].float(), box)


def test_no_prompt_needs_no_image(segmenter):
    assert list(segmenter.masks(torch.rand(3, 1, 1), [])) == []


def test_without_points_the_box_alone_is_asked(segmenter):
    prompts = boxes_and_points(SCORES, 40, 90, positive=0, negative=0)
    assert next(segmenter.masks(IMAGE[0], prompts)).shape == (40, 90)


class Drawn:
    """A segmenter that draws given masks, for each part that it is asked for; it counts how many are read at once."""

    def __init__(self, *masks):
        self.drawn, self.asked = masks, []

    def masks(self, image, prompts):
        self.asked += prompts
        yield from self.drawn[: len(prompts)]


def _halves(first=0.6, second=0.4):
    """Two classes on 4 x 8 pixels: class 0 leads in the left half by `first`, class 1 in the right."""
    left = torch.tensor([first] * 4 + [second] * 4).expand(4, 8)
    return torch.stack([left, 1 - left])[None]


def test_the_mask_of_a_class_wins_where_it_is_alone():
    left, right = torch.zeros(4, 8), torch.zeros(4, 8)
    left[:, :5] = 1  # one column more than the map
    right[:, 5:] = 1
    scores = _halves()
    refined = sam_refine(scores, torch.rand(1, 3, 4, 8), Drawn(left, right))
    expected = scores[0] * torch.stack([left, right]).clamp(min=FLOOR)
    expected /= expected.sum(0)
    torch.testing.assert_close(refined[0], expected)
    assert refined.argmax(1)[0, 0].tolist() == [0] * 5 + [1] * 3


def test_where_masks_overlap_or_there_is_none_the_maps_decide():
    scores = _halves()
    whole = torch.ones(4, 8)
    torch.testing.assert_close(sam_refine(scores, torch.rand(1, 3, 4, 8), Drawn(whole, whole)), scores)
    few = torch.zeros(4, 8)
    few[:, :2] = 1
    refined = sam_refine(scores, torch.rand(1, 3, 4, 8), Drawn(few, few.flip(1)))
    assert torch.equal(refined.argmax(1), scores.argmax(1))
    torch.testing.assert_close(refined[..., 2:6], scores[..., 2:6])


def test_a_mask_of_something_else_is_not_used():
    wrong = torch.zeros(4, 8)
    wrong[:, 4:] = 1  # asked for the left half
    refined = sam_refine(_halves(), torch.rand(1, 3, 4, 8), Drawn(wrong, wrong))
    assert torch.equal(refined.argmax(1), _halves().argmax(1))
    taken = sam_refine(_halves(), torch.rand(1, 3, 4, 8), Drawn(wrong, wrong), agreement=0)
    assert not torch.equal(taken, refined)


def test_probabilities_stay_probabilities_and_input_is_unchanged(segmenter):
    before = SCORES.clone()
    refined = sam_refine(SCORES, IMAGE, segmenter, agreement=0)
    assert refined.shape == (1, 3, 40, 90)
    torch.testing.assert_close(refined.sum(1), torch.ones(1, 40, 90))
    assert torch.equal(SCORES, before)


def test_one_class_everywhere(segmenter):
    scores = torch.zeros(1, 2, 4, 9)
    scores[:, 1] = 1
    refined = sam_refine(scores, IMAGE, segmenter)
    torch.testing.assert_close(refined, torch.nn.functional.interpolate(scores, (40, 90)))


def test_a_strip_of_one_row():
    scores, image = torch.rand(1, 2, 1, 20).softmax(1), torch.rand(1, 3, 1, 5000)
    refined = sam_refine(scores, image, PromptableSegmenter(*SMALL["sam2"]()))
    assert refined.shape == (1, 2, 1, 5000)
    with pytest.raises(OutOfRange, match="5000 x 1"):  # SAM scales it to no row at all
        sam_refine(scores, image, PromptableSegmenter(*SMALL["sam"]()))


@pytest.mark.parametrize("options", [{"agreement": 2}, {"parts": 0}, {"positive": -1}])
def test_options_out_of_range(options):
    with pytest.raises(OutOfRange):
        sam_refine(SCORES, IMAGE, Drawn(), **options)


def test_other_models_are_refused():
    model, processor = SMALL["sam2"]()
    with pytest.raises(UserError, match="Linear"):
        PromptableSegmenter(torch.nn.Linear(2, 2), processor)
    with pytest.raises(UserError, match="Sam2Processor"):
        PromptableSegmenter(model, SMALL["sam"]()[1])


def test_weights_are_checked_before_anything_is_loaded(tmp_path, folder):
    step = Refinement(["sam"])
    with pytest.raises(UserError, match="no weights"):
        refinement(step, ("cat",))
    with pytest.raises(WeightsUnavailable, match="nowhere"):
        refinement(Refinement(["sam"], sam=str(tmp_path / "nowhere")), ("cat",))
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(UserError, match=r"clip.*Sam2Model"):
        refinement(Refinement(["sam"], sam=str(other)), ("cat",))
    with pytest.raises(OutOfRange):
        refinement(Refinement(["sam"], sam=str(folder), sam_agreement=-1), ("cat",))


def test_truncated_weights_are_one_error(tmp_path, folder):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(WeightsUnavailable):
        PromptableSegmenter.load(str(tmp_path))


def test_segment_takes_a_folder_and_a_ready_segmenter(folder):
    named = ca_seg.segment(IMAGE[0], ["cat", "grass"], backbone="mini", refine="sam", sam=str(folder))
    ready = PromptableSegmenter.load(str(folder))
    given = ca_seg.segment(IMAGE[0], ["cat", "grass"], backbone="mini", refine="sam", sam=ready)
    plain = ca_seg.segment(IMAGE[0], ["cat", "grass"], backbone="mini")
    torch.testing.assert_close(named.maps, given.maps)
    torch.testing.assert_close(named.maps, sam_refine(plain.maps, IMAGE, ready), atol=1e-5, rtol=1e-4)


def test_the_commands_have_the_options(folder, tmp_path):
    from torchvision.io import write_png

    image, out = tmp_path / "images" / "a.png", tmp_path / "out"
    image.parent.mkdir()
    write_png((IMAGE[0] * 255).byte(), str(image))
    options = ["--sam", str(folder), "--sam-parts", "2", "--backbone", "mini"]
    assert (
        main(["segment", str(image), "--concepts", "cat", "grass", "--refine", "sam", *options, "--out", str(out)]) == 0
    )
    labels = ["--out", str(out / "labels")]
    assert main(["label", str(image.parent), "--concepts", "cat", "grass", "--refine", "sam", *options, *labels]) == 0
    run = json.loads((out / "labels" / "run.json").read_text())
    assert run["settings"]["refine"]["sam"] == str(folder)
