"""Frozen diffusion transformers as segmentation backbones.

    import ca_seg

    ca_seg.segment("photo.jpg", ["cat", "grass"]).overlay()

Every job of the project is a function here, and every command of `ca-seg` is a thin shell over one of them. For
research, a backbone records an image once and is then asked as often as one likes:

    backbone = ca_seg.load_backbone("mini")
    recording = backbone.record(image)                        # the expensive part
    recording.ask(["cat", "grass"]).maps(space="output")      # [1, 2, h, w]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ca_seg.optional import optional_imports
from ca_seg.quiet import silence_import_noise

__version__ = "0.2.0"

if TYPE_CHECKING:
    from ca_seg.backbones.backbone import Backbone
    from ca_seg.backbones.generate import Generated, generate
    from ca_seg.backbones.load import backbone_of, load_backbone
    from ca_seg.backbones.loading.card import list_backbones
    from ca_seg.backbones.readout import ReadoutConfig
    from ca_seg.backbones.trace import GenerationTrace
    from ca_seg.captioner import Captioner
    from ca_seg.cross_attention.reader import CrossAttentionReader
    from ca_seg.cross_attention.trace import CrossAttentionTrace
    from ca_seg.data.catalogue import list_datasets
    from ca_seg.data.settings import DataSettings, EvaluationData
    from ca_seg.editing.blended_latents import BlendedLatents
    from ca_seg.editing.mask_callback import MaskCallback
    from ca_seg.errors import DataWarning, UserError, WordsWarning
    from ca_seg.evaluation.ablation import AblationGrid
    from ca_seg.evaluation.results import EvaluationResults
    from ca_seg.heads.trained import TrainedHead, list_heads, load_head
    from ca_seg.jobs.ablate import AblationResults, AblationSettings, ablate
    from ca_seg.jobs.calibrate import CalibrationResult, CalibrationSettings, calibrate
    from ca_seg.jobs.compare import Comparison, ComparisonRow, compare
    from ca_seg.jobs.edit import edit
    from ca_seg.jobs.edit_settings import EditSettings
    from ca_seg.jobs.edited_image import EditedImage
    from ca_seg.jobs.evaluate import EvaluationSettings, evaluate
    from ca_seg.jobs.image_segmentation import ImageSegmentation, image_segmentation_pipeline
    from ca_seg.jobs.instances import Instance
    from ca_seg.jobs.label import LabelResults, LabelSettings, label
    from ca_seg.jobs.parts import PartsSegmentation, PartsSettings, parts
    from ca_seg.jobs.review import ReviewResults, ReviewSettings, review
    from ca_seg.jobs.segment import segment
    from ca_seg.jobs.segmentation import Segmentation
    from ca_seg.jobs.segmenter import SegmentSettings
    from ca_seg.jobs.train_head import TrainingSettings, train_head
    from ca_seg.jobs.training_result import TrainingResult
    from ca_seg.jobs.two_class import TwoClassResults, TwoClassSettings, two_class
    from ca_seg.jobs.video import (
        VideoEvaluationSettings,
        VideoResults,
        VideoSegmentation,
        VideoSettings,
        evaluate_video,
        video,
    )
    from ca_seg.labelling.registry import list_formats
    from ca_seg.labelling.run_reader import LabelRun
    from ca_seg.labelling.settings import LabelData
    from ca_seg.methods.card import MethodCard
    from ca_seg.methods.method import Method
    from ca_seg.methods.open import method
    from ca_seg.methods.registry import list_methods
    from ca_seg.predictors.settings import BackboneSettings, MethodSettings
    from ca_seg.refine.boxes_and_points import BoxAndPoints, boxes_and_points
    from ca_seg.refine.promptable import PromptableSegmenter
    from ca_seg.refine.steps import Refinement, list_refinements
    from ca_seg.tasks.head_settings import CheckpointConfig, HeadSettings, TrainingData
    from ca_seg.viewer.server import Viewer, view
    from ca_seg.viewer.settings import ViewSettings
    from ca_seg.vocabulary import IGNORE_INDEX, Vocabulary, Words

# where each public name lives; a module is imported when a name of it is first used
_MODULES = {
    "ca_seg.backbones.backbone": ["Backbone"],
    "ca_seg.backbones.generate": ["Generated", "generate"],
    "ca_seg.backbones.load": ["backbone_of", "load_backbone"],
    "ca_seg.backbones.loading.card": ["list_backbones"],
    "ca_seg.backbones.readout": ["ReadoutConfig"],
    "ca_seg.backbones.trace": ["GenerationTrace"],
    "ca_seg.captioner": ["Captioner"],
    "ca_seg.cross_attention.reader": ["CrossAttentionReader"],
    "ca_seg.cross_attention.trace": ["CrossAttentionTrace"],
    "ca_seg.data.catalogue": ["list_datasets"],
    "ca_seg.data.settings": ["DataSettings", "EvaluationData"],
    "ca_seg.editing.blended_latents": ["BlendedLatents"],
    "ca_seg.editing.mask_callback": ["MaskCallback"],
    "ca_seg.errors": ["DataWarning", "UserError", "WordsWarning"],
    "ca_seg.evaluation.ablation": ["AblationGrid"],
    "ca_seg.evaluation.results": ["EvaluationResults"],
    "ca_seg.heads.trained": ["TrainedHead", "list_heads", "load_head"],
    "ca_seg.jobs.ablate": ["AblationResults", "AblationSettings", "ablate"],
    "ca_seg.jobs.calibrate": ["CalibrationResult", "CalibrationSettings", "calibrate"],
    "ca_seg.jobs.compare": ["Comparison", "ComparisonRow", "compare"],
    "ca_seg.jobs.edit": ["edit"],
    "ca_seg.jobs.edit_settings": ["EditSettings"],
    "ca_seg.jobs.edited_image": ["EditedImage"],
    "ca_seg.jobs.evaluate": ["EvaluationSettings", "evaluate"],
    "ca_seg.jobs.image_segmentation": ["ImageSegmentation", "image_segmentation_pipeline"],
    "ca_seg.jobs.instances": ["Instance"],
    "ca_seg.jobs.label": ["LabelResults", "LabelSettings", "label"],
    "ca_seg.jobs.parts": ["PartsSegmentation", "PartsSettings", "parts"],
    "ca_seg.jobs.review": ["ReviewResults", "ReviewSettings", "review"],
    "ca_seg.jobs.segment": ["segment"],
    "ca_seg.jobs.segmentation": ["Segmentation"],
    "ca_seg.jobs.segmenter": ["SegmentSettings"],
    "ca_seg.jobs.train_head": ["TrainingSettings", "train_head"],
    "ca_seg.jobs.training_result": ["TrainingResult"],
    "ca_seg.jobs.two_class": ["TwoClassResults", "TwoClassSettings", "two_class"],
    "ca_seg.jobs.video": [
        "VideoEvaluationSettings",
        "VideoResults",
        "VideoSegmentation",
        "VideoSettings",
        "evaluate_video",
        "video",
    ],
    "ca_seg.labelling.registry": ["list_formats"],
    "ca_seg.labelling.run_reader": ["LabelRun"],
    "ca_seg.labelling.settings": ["LabelData"],
    "ca_seg.methods.card": ["MethodCard"],
    "ca_seg.methods.method": ["Method"],
    "ca_seg.methods.open": ["method"],
    "ca_seg.methods.registry": ["list_methods"],
    "ca_seg.predictors.settings": ["BackboneSettings", "MethodSettings"],
    "ca_seg.refine.boxes_and_points": ["BoxAndPoints", "boxes_and_points"],
    "ca_seg.refine.promptable": ["PromptableSegmenter"],
    "ca_seg.refine.steps": ["Refinement", "list_refinements"],
    "ca_seg.tasks.head_settings": ["CheckpointConfig", "HeadSettings", "TrainingData"],
    "ca_seg.viewer.server": ["Viewer", "view"],
    "ca_seg.viewer.settings": ["ViewSettings"],
    "ca_seg.vocabulary": ["IGNORE_INDEX", "Vocabulary", "Words"],
}
_WHERE = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # noqa: RUF022  # grouped: jobs, loading, lists, what they take, what they return, words, errors
    "segment", "parts", "evaluate", "train_head", "label", "video", "generate", "edit", "compare", "calibrate",
    "review", "ablate", "two_class", "evaluate_video", "view", "image_segmentation_pipeline",
    "load_backbone", "backbone_of", "load_head", "method", "boxes_and_points",
    "list_backbones", "list_datasets", "list_formats", "list_heads", "list_methods", "list_refinements",
    "SegmentSettings", "PartsSettings", "EvaluationSettings", "TrainingSettings", "LabelSettings", "VideoSettings",
    "VideoEvaluationSettings", "CalibrationSettings", "AblationSettings", "TwoClassSettings", "ReviewSettings",
    "ViewSettings", "EditSettings",
    "BackboneSettings", "MethodSettings", "HeadSettings", "ReadoutConfig", "Refinement", "AblationGrid",
    "CheckpointConfig", "DataSettings", "EvaluationData", "TrainingData", "LabelData",
    "Segmentation", "PartsSegmentation", "Instance",
    "EvaluationResults", "TrainingResult", "LabelResults", "LabelRun", "VideoSegmentation",
    "VideoResults", "Generated", "Comparison", "ComparisonRow", "CalibrationResult", "AblationResults",
    "TwoClassResults", "ReviewResults", "Viewer", "EditedImage", "ImageSegmentation",
    "Backbone", "TrainedHead", "Method", "MethodCard", "CrossAttentionReader", "CrossAttentionTrace",
    "GenerationTrace", "MaskCallback", "BlendedLatents",
    "Captioner", "BoxAndPoints", "PromptableSegmenter",
    "Vocabulary", "Words", "IGNORE_INDEX",
    "UserError", "WordsWarning", "DataWarning", "__version__",
]  # fmt: skip


silence_import_noise()  # here, before any part of ca_seg imports these libraries


def __getattr__(name: str) -> Any:
    """Torch and diffusers take seconds to import, so a name is imported when it is first used."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with optional_imports(f"ca_seg.{name}", job=name):
        value = getattr(import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
