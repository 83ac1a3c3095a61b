"""The paper's ablations on a dataset: spaces, layers, timesteps, noise samples, resolutions, concept attention."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ca_seg.backbones.backbone import Backbone
from ca_seg.backbones.readout import ReadoutConfig
from ca_seg.captioner import check_captioner
from ca_seg.concept.choices import NO_PROMPT
from ca_seg.data.collate import Skipped, SkipUnreadable
from ca_seg.data.settings import DataSettings, data_named
from ca_seg.errors import UserError
from ca_seg.evaluation.ablation import AblationGrid, AblationScores, Tables, ablate_image
from ca_seg.evaluation.ablation_page import write_ablation_page
from ca_seg.jobs.arguments import check_folder, checked_settings
from ca_seg.jobs.without_effect import refuse_without_effect
from ca_seg.jobs.words import check_words
from ca_seg.json_file import write_json
from ca_seg.optional import optional_imports
from ca_seg.predictors.settings import BackboneSettings, choose_backbone
from ca_seg.seed_range import check_seed
from ca_seg.versions import versions

if TYPE_CHECKING:
    import pandas

READ = ("layers", "prompt", "captioner")  # of the readout; the grid chooses all else
WITHOUT_EFFECT = (
    "preset",
    *(f.name for f in fields(ReadoutConfig) if f.name not in READ),
    *("window", "scales", "template", "synonyms"),
)


@dataclass(frozen=True)
class AblationSettings:
    """Options of an ablation.

    Args:
        model: the backbone; how its maps are read is the grid's
        data: the images
        grid: what is varied
        last_layer: load blocks only up to this joint attention; None: all
        device: cpu, cuda, cuda:1 or mps
        seed: of the noise
        out: the folder of tables, plots and page; None: nothing is written
    """

    model: BackboneSettings = field(default_factory=BackboneSettings)
    data: DataSettings = field(default_factory=DataSettings)
    grid: AblationGrid = field(default_factory=AblationGrid)
    last_layer: int | None = None
    device: str = "cpu"
    seed: int = 0
    out: str | None = None


@dataclass(frozen=True)
class AblationResults:
    """What `ca_seg.ablate` returns. `content` is what ablation.json holds."""

    content: dict[str, Any]

    @property
    def tables(self) -> Tables:
        """{table: {entry: {oracle_miou, oracle_accuracy, full_miou, full_accuracy}}}, all 0..1."""
        return self.content["tables"]

    def to_pandas(self) -> pandas.DataFrame:
        """One row per table and entry, one column per figure. Raises MissingExtra without pandas."""
        with optional_imports("to_pandas()"):
            import pandas
        rows = [
            {"table": table, "entry": entry, **figures}
            for table, entries in self.tables.items()
            for entry, figures in entries.items()
        ]
        return pandas.DataFrame(rows)

    @property
    def skipped(self) -> list[list[str]]:
        """[path, reason] of each image that could not be read."""
        return self.content["skipped"]

    def save(self, folder: str | Path) -> Path:
        """Write FOLDER/ablation.json, the plots and FOLDER/index.html; the path of the page."""
        write_json(Path(folder) / "ablation.json", self.content)
        write_ablation_page(Path(folder), self.content)
        return Path(folder) / "index.html"


def ablate(
    backbone: str | Backbone | BackboneSettings | None = None,
    data: str | Path | DataSettings | None = None,
    settings: AblationSettings | None = None,
    *,
    device: str | None = None,
    out: str | Path | None = None,
    progress: Callable[[range], Iterable[int]] = lambda indices: indices,
) -> AblationResults:
    """Vary one setting of a backbone at a time, and score each under both protocols.

    Args:
        backbone: a name of the zoo, a loaded backbone, or settings; in place of `settings.model`
        data: a dataset's name, a folder with images/, masks/ and classes.json, or settings; in place of `settings.data`
        settings: all other options
        device: in place of `settings.device`
        out: a folder to write to, in place of `settings.out`
        progress: wraps the indices of the images, to show how far the run is

    Returns:
        The figures by table and entry, and the images that could not be read.

    Raises:
        UserError: for settings, data or weights that cannot be used

    Example:
        >>> ca_seg.ablate("mini", "scenes").tables["timestep"]["0.3"]["oracle_miou"]
    """
    settings = checked_settings(settings, AblationSettings())
    folder = settings.out if out is None else out
    check_seed(settings.seed)
    check_folder(folder)
    model, loaded = choose_backbone(settings.model, backbone)
    if model.layers is None and settings.last_layer is not None:
        model = replace(model, layers=(settings.last_layer,))  # only blocks up to it are loaded
    refuse_without_effect(model, WITHOUT_EFFECT, "an ablation, whose grid varies it")
    images = settings.data if data is None else data_named(data, DataSettings)
    dataset = images.open()
    if model.prompt != NO_PROMPT:
        raise UserError("model.prompt is given to an ablation", fix="leave it out: grid.prompt varies it")
    if model.captioner is not None:
        check_captioner(model.captioner)
    check_words(model, dataset.class_list.names, loaded)
    device = device or settings.device
    loaded = model.load(device, loaded)
    scores, skipped, count = AblationScores(dataset.class_list.names), [], 0
    readable = SkipUnreadable(dataset)
    for index in progress(range(len(dataset))):
        sample = readable[index]
        if isinstance(sample, Skipped):
            skipped.append(list(sample))
        else:
            count += ablate_image(loaded, sample, settings.grid, scores, settings.seed, model.captioner)
    content = {
        "schema": "ca_seg.ablation/2",
        "backbone": model.backbone,
        "dataset": {"name": images.name, "images": count, "fingerprint": dataset.fingerprint()},
        "tables": scores.figures(),
        "skipped": skipped,
        "seed": settings.seed,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": versions(),
    }
    results = AblationResults(content)
    if folder is not None:
        results.save(folder)
    return results
