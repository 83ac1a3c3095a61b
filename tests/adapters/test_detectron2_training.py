"""detectron2's trainer, head, evaluator and checkpointer on the frozen backbone."""

from __future__ import annotations

import io
from contextlib import redirect_stdout

import pytest
import torch

from ca_seg.metrics.confusion import ConfusionMatrix, mean_accuracy, miou, pixel_accuracy
from tests.small_detectron2 import REASON, first_scenes, small_config

pytest.importorskip("detectron2", reason=REASON)

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.data.detection_utils import read_image
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, SemSegEvaluator, inference_on_dataset
from detectron2.modeling import build_model
from detectron2.utils.env import seed_all_rng

from ca_seg.adapters.detectron2 import register
from recipes.detectron2.train import Trainer

NAME = "few_scenes"


class CaSegScores(DatasetEvaluator):
    """ca_seg's confusion matrix of the images that detectron2's evaluator scores."""

    def __init__(self, dataset, classes: int) -> None:
        self.masks = {sample["path"]: sample["mask"] for sample in dataset}
        self.confusion = ConfusionMatrix(classes)

    def reset(self):
        self.confusion.reset()

    def process(self, inputs, outputs):
        for image, output in zip(inputs, outputs, strict=True):
            self.confusion.update(output["sem_seg"].argmax(dim=0), self.masks[image["file_name"]])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectron2")
    root = first_scenes(folder / "set", 8)
    classes, _ = register(NAME, "folder", str(root), cache=folder / "cache")
    cfg = small_config()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (NAME,)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = len(classes)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.SOLVER.WARMUP_ITERS = 4, 12, (), 2
    cfg.OUTPUT_DIR = str(folder)
    seed_all_rng(0)
    trainer = Trainer(cfg)
    dit = trainer.model.backbone.net.source.backbone
    before = {name: tensor.clone() for name, tensor in dit.state_dict().items()}
    trainer.resume_or_load(resume=False)
    with redirect_stdout(io.StringIO()):
        trainer.train()
    yield cfg, trainer, before, root
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


def test_the_head_learns_and_the_transformer_does_not(trained):
    _, trainer, before, _ = trained
    losses = [loss for loss, _ in trainer.storage.history("total_loss").values()]
    assert losses[-1] < 0.7 * losses[0]
    for name, tensor in trainer.model.backbone.net.source.backbone.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_detectron2_and_ca_seg_give_the_same_scores(trained):
    from ca_seg.data.catalogue import open_dataset

    cfg, trainer, _, root = trained
    dataset = open_dataset("folder", str(root))
    ours, theirs = CaSegScores(dataset, len(dataset.class_list)), SemSegEvaluator(NAME)
    loader = build_detection_test_loader(cfg, NAME)
    with redirect_stdout(io.StringIO()):
        scores = inference_on_dataset(trainer.model, loader, DatasetEvaluators([theirs, ours]))["sem_seg"]
    matrix = ours.confusion.compute()
    assert scores["mIoU"] > 1
    assert float(miou(matrix, over="ground_truth")) == pytest.approx(scores["mIoU"] / 100, abs=1e-6)
    assert float(pixel_accuracy(matrix)) == pytest.approx(scores["pACC"] / 100, abs=1e-6)
    assert float(mean_accuracy(matrix)) == pytest.approx(scores["mACC"] / 100, abs=1e-6)


def test_a_checkpoint_has_the_trained_parameters_only(trained):
    cfg, trainer, _, _ = trained
    file = f"{cfg.OUTPUT_DIR}/model_final.pth"
    saved = torch.load(file, weights_only=True)["model"]
    learned = {name for name, _ in trainer.model.named_parameters()}
    assert set(saved) == learned
    assert all(name.startswith(("backbone.simfp_", "sem_seg_head.")) for name in saved)
    again = build_model(cfg).eval()
    DetectionCheckpointer(again).load(file)
    trainer.model.eval()
    with torch.no_grad():
        batch = [
            {
                "image": torch.as_tensor(
                    read_image(DatasetCatalog.get(NAME)[0]["file_name"], "BGR").transpose(2, 0, 1).copy()
                )
            }
        ]
        assert torch.equal(again(batch)[0]["sem_seg"], trainer.model(batch)[0]["sem_seg"])


def test_training_resumes_from_its_checkpoint(trained):
    cfg, _, _, _ = trained
    longer = cfg.clone()
    longer.SOLVER.MAX_ITER = 13
    trainer = Trainer(longer)
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 12
