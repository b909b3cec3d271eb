"""The catalog's entries as pydantic models; every field says its unit and its default."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from adapters.catalog.areas import Area
from adapters.catalog.cron import CronLine
from adapters.catalog.datasets import DataSet, DatasetEntry
from adapters.catalog.datasets.label_map import checked_label_map
from adapters.catalog.entry import Auto, Entry, Name, Seed, Size
from adapters.catalog.protocols import Protocol, ProtocolEntry
from adapters.catalog.providers import Account, CitySite, Provider
from adapters.catalog.recipes import Arm, RecipeEntry
from adapters.catalog.running import ComputeProfile, Deployed, FlowName, StoreEntry, Tracking
from crosscity.labels import CLASSES
from crosscity.lights import Lights
from crosscity.named_function import function_of, is_plug_in
from crosscity.prior_parts import check_matcher, check_superpixel_method

HUB_PREFIX: Final = "hf:"
"""Before the folder, or the name on the hub, of a network of Hugging Face."""

Fraction = Annotated[float, Field(ge=0, le=1)]


Changes = dict[str, bool | int | float | str | list[float]]
"""Settings of the science by field name; the science checks them."""


CityProtocol = Literal["score13", "merge", "drop"] | Name
"""Of a city: a protocol of the thirteen classes, or an entry of `protocols`."""

EvaluationSize = Annotated[
    Size | None,
    Field(
        description="[height, width] that labels are scored at, as some papers did; null: their own"
    ),
]


class SimulatedLabels(Entry):
    """Exact labels of a simulated city: for evaluation and for the fine-tuned upper bound."""

    kind: Literal["simulated"]
    fine_tune_places: int = Field(
        default=90, ge=0, description="training places whose labels the fine-tuned arm may use"
    )
    protocol: CityProtocol = "score13"
    evaluation_size: EvaluationSize = None


class CrossCityLabels(Entry):
    """`<City>/Labels/Test/<id>_eval.png` of the public layout (Cityscapes labelIds).

    They are of test places alone, so the arm `fine_tuned` has nothing to train on.
    """

    kind: Literal["cross_city"]
    root: str = Field(description="folder that holds <City>/Labels/...; ${NAME} is read from env")
    city: str | None = None
    protocol: CityProtocol = "score13"
    evaluation_size: EvaluationSize = None


class FolderLabels(Entry):
    """Images and labels of one's own that a city is scored on.

    They are of test places alone, so the arm `fine_tuned` is trained in folds.
    """

    kind: Literal["folder"]
    root: str = Field(description="folder of both; ${NAME} is read from env")
    label_map: dict[int | str, str] | Literal["labelIds", "labelTrainIds"] = Field(
        description="as of a data set of the kind folder"
    )
    images: str = Field(default="images", description="folder of the images below root")
    labels: str = Field(default="labels", description="folder of the labels below root")
    image_ending: str | None = Field(default=None, description="as of a folder set")
    label_ending: str = Field(default=".png", description="as of a folder set")
    protocol: CityProtocol = "score13"
    evaluation_size: EvaluationSize = None

    @field_validator("label_map", mode="before")
    @classmethod
    def _label_map_is_possible(cls, given: object) -> object:
        return checked_label_map(given)


PAPER_PRIOR: Final[dict[str, object]] = {
    "matcher": "deep_matching",
    "superpixel_method": "ers",
    "downscale": 2,
    "search_radius": None,
    "superpixels": 200,
    "superpixel_downscale": 1,
    "k": 3,
    "coverage": 0.0,
    "weakest": 0.0,
    "neighbours": 0,
}
"""The paper's prior: DeepMatching as published, 200 superpixels of the image itself, more than
three matched pixels, and every match counts."""


class PriorSettings(Entry):
    """How the static prior is extracted (paper, Sec. 4.3): a preset, and what differs from it."""

    preset: Literal["default", "paper"] = Field(
        default="default",
        exclude=True,  # what is made depends on the values alone
        description="paper: DeepMatching at half the size without a radius, 200 entropy rate "
        "superpixels of the image itself, and its rule alone; other settings given here go before",
    )
    matcher: Annotated[str, AfterValidator(check_matcher)] = Field(
        default="deep_matching",
        description="deep_matching (the paper's), deep_matching_refined (coarse first, then near "
        "what was found), dis (cheap, for small displacements), or "
        "python:my_package.my_module:function of your own",
    )
    superpixel_method: Annotated[str, AfterValidator(check_superpixel_method)] = Field(
        default="ers", description="ers (the paper's), slic, or none: equal squares"
    )
    downscale: Literal[1, 2, 4] = Field(
        default=4, description="divides the image side before matching; 1 or 2 for small images"
    )
    search_radius: Annotated[float, Field(gt=0)] | None = Field(
        default=128, description="pixels of the images as given; null searches everywhere"
    )
    superpixels: int = Field(default=200, ge=1, description="superpixels an image")
    superpixel_downscale: Literal[1, 2, 4] = Field(
        default=4, description="divides the image side before superpixels; 1 for small images"
    )
    k: int = Field(default=3, ge=0, description="more than k matched pixels make one static")
    coverage: Fraction = Field(
        default=0.22, description="and this share of its pixels matched; 0 is the paper's rule"
    )
    weakest: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.25, description="share of the matches, the lowest scores, that do not count"
    )
    neighbours: int = Field(
        default=8, ge=0, le=24, description="of the 24 around, that must move with a match"
    )
    tolerance: float = Field(
        default=1.0, ge=0, description="cells by which neighbours' displacements may differ"
    )

    @property
    def is_calibrated(self) -> bool:
        """Whether the probability that a pixel is static was fitted to such matches."""
        return self.matcher == "deep_matching"

    def superpixel_fault(self, shape: tuple[int, int], advice: str = "") -> str | None:
        """Why images of a (height, width) cannot have that many superpixels, if they cannot.

        Args:
            shape: Of the images.
            advice: What to do about it; default: which of these settings to lower.
        """
        scale = self.superpixel_downscale
        height, width = (max(side // scale, 1) for side in shape)
        if self.superpixels <= height * width:
            return None
        smaller = f", {height}×{width} at superpixel_downscale {scale}," if scale > 1 else ""
        settings = "superpixels or superpixel_downscale" if scale > 1 else "superpixels"
        return (
            f"images of {shape[0]}×{shape[1]} pixels high and wide{smaller} have fewer pixels than "
            f"{self.superpixels} superpixels: {advice or f'lower {settings}'}"
        )

    @model_validator(mode="before")
    @classmethod
    def _preset_below(cls, given: object) -> object:
        if isinstance(given, dict) and given.get("preset") == "paper":
            return {**PAPER_PRIOR, **given}
        return given


CityLabels = Annotated[
    SimulatedLabels | CrossCityLabels | FolderLabels, Field(discriminator="kind")
]
"""Labels of a city's test places."""


class QualitySettings(Entry):
    """From when on a harvested image is left out as unfit; null looks for nothing.

    The defaults leave out the grossest alone. Limits that tell the faults of street views, and how
    well: docs/imagery.md.
    """

    night: float | None = Field(
        default=6.0, ge=0, le=255, description="mean brightness of the lower two thirds, at least"
    )
    blur: float | None = Field(
        default=None, ge=0, le=1, description="share of steps that survives blurring, at most"
    )
    overexposed: float | None = Field(
        default=0.95, ge=0, le=1, description="saturated share of the lower two thirds, at most"
    )
    obstructed: float | None = Field(
        default=0.95, ge=0, le=1, description="share that one dark region covers, at most"
    )
    turned: float | None = Field(
        default=None,
        ge=-255,
        le=255,
        description="by how much another side may be brighter than the top",
    )


class Predictions(Entry):
    """What predict-city leaves in the store of every image of a city."""

    segmenter: str = Field(
        default="promoted", description="promoted, promoted:<city>, or the key of a segmenter"
    )
    ids: Literal["labelIds", "trainIds", "palette"] = Field(
        default="labelIds", description="what the label maps hold; palette: trainIds with colours"
    )
    overlays: bool = Field(default=False, description="classes drawn over the pictures too")
    confidence: bool = Field(default=False, description="the predicted probabilities too")


class City(Entry):
    """A city to adapt to."""

    provider: Provider
    area: Area | None = Field(default=None, description="where; providers of folders need none")
    places: int = Field(default=1600, ge=1, le=1_000_000, description="places to harvest")
    test_places: int = Field(default=100, ge=0, description="of these, held out for the test")
    seed: Seed = Field(default=0, description="fixes which places are sampled")
    min_days_apart: float = Field(default=30, ge=0, description="between the two times of a pair")
    max_metres_apart: float = Field(default=10, gt=0, description="between the two captures")
    times: int = Field(
        default=2,
        ge=2,
        le=10,
        description="captures kept of a place and view, where there are so many: static priors are "
        "made of all of them, everything else of the two that are farthest apart in time",
    )
    lights: Lights | None = Field(
        default=None,
        description="the light of one picture of a pair and that of the other, in any order: two "
        "of day, twilight and night, as [day, night], by where the sun stood (docs/imagery.md); "
        "null: any",
    )
    image_size: Size | None = Field(
        default=None,
        description="[height, width] in pixels of the rendered views; null: [647, 1280]. Of a "
        "folder of images: the size at which they go through the network; null: the size that the "
        "segmenter was trained at",
    )
    labels: CityLabels | None = Field(
        default=None, description="labels of the test places, where there are any"
    )
    prior: PriorSettings = PriorSettings()
    quality: QualitySettings = QualitySettings()
    segmenter: Name = Field(default="compact", description="the pre-trained segmenter to adapt")
    training: Name = Field(default="demo", description="an entry of `trainings`")
    arm: str = Field(
        default="full",
        description="how the city is adapted where no command says: an arm (docs/method.md) or a "
        "recipe",
        examples=list(get_args(Arm)),
    )
    training_seed: Seed = Field(default=0, description="fixes the trainings of readapt-city")
    priority: int = Field(
        default=0, ge=-1000, le=1000, description="whose turn on a GPU is next: the highest's"
    )
    predictions: Predictions = Predictions()
    pairs_per_part: int = Field(
        default=50, ge=1, le=10_000, description="pairs a shard: what a kill can lose"
    )
    failure_limit: Fraction = Field(
        default=0.05, description="fraction of images or pairs that may fail before the flow does"
    )
    schedule: CronLine | None = Field(
        default=None, description="cron line (UTC) of readapt-city, e.g. '0 3 * * 1'"
    )
    watch_schedule: CronLine | None = Field(
        default=None, description="cron line (UTC) of watch-city, which looks for new imagery"
    )
    lookback_days: float = Field(
        default=30.0,
        ge=0,
        description="watch-city looks so far behind the last listing: people upload late",
    )
    test_margin_metres: float | None = Field(
        default=None,
        ge=0,
        description="no training place lies so near to a test place; null: 50 for street-view "
        "services, 0 for simulated cities and folders, whose places are worlds of their own",
    )

    @property
    def network_size(self) -> tuple[int, int] | None:
        """`image_size` of a city whose images come at sizes of their own, where it is set."""
        return self.image_size if self.provider.has_own_sizes else None

    @property
    def view_size(self) -> tuple[int, int]:
        """(height, width) of rendered views in pixels."""
        return self.image_size or (647, 1280)

    @property
    def test_margin(self) -> float:
        """`test_margin_metres`, with its default by provider."""
        if self.test_margin_metres is not None:
            return self.test_margin_metres
        return self.provider.test_margin

    @property
    def labelled_training_places(self) -> int:
        """How many of its training places have labels, at most; trainings may use them."""
        labels = self.labels
        return labels.fine_tune_places if isinstance(labels, SimulatedLabels) else 0

    def site(self, name: str, folder: Path) -> CitySite:
        """What the city's provider gets to know of it.

        Args:
            name: The city's name in the catalog.
            folder: The catalog's folder.
        """
        return CitySite(
            name=name,
            folder=folder,
            bounds=None if self.area is None else self.area.bounds(),
            polygons=() if self.area is None else self.area.polygons,
            points=() if self.area is None else self.area.spots,
            point_metres=30.0 if self.area is None else self.area.point_metres,
            places=self.places,
            seed=self.seed,
            image_size=self.view_size,
            min_days_apart=self.min_days_apart,
            max_metres_apart=self.max_metres_apart,
            times=self.times,
            lights=self.lights,
        )

    @model_validator(mode="after")
    def _places_suffice(self) -> Self:
        if self.provider.samples_places and self.test_places >= self.places:
            raise ValueError(
                f"test_places ({self.test_places}) must be below places ({self.places}), "
                "or nothing is left to adapt on"
            )
        if self.provider.needs_area and self.area is None:
            raise ValueError(f"a city of {self.provider.kind} needs an area")
        return self

    @model_validator(mode="after")
    def _superpixels_fit(self) -> Self:
        fault = self.prior.superpixel_fault(self.view_size)
        if fault is not None and not self.provider.has_own_sizes:
            raise ValueError(f"prior.superpixels: {fault}")
        return self


class SegmenterEntry(Entry):
    """A segmenter and how it is pre-trained on its source set (docs/segmenters.md)."""

    architecture: str | None = Field(
        default=None,
        description="compact, dilated_vgg16, efficientnet_lite0, or hf:<folder or name on the hub>",
    )
    python: str | None = Field(
        default=None,
        description="a function of your own package that builds it: my_package.my_module:build",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the architecture; of hf: labels, new_classifier, revision",
    )
    source: Name | None = Field(
        default=None,
        description="the data set it is pre-trained on; null: it comes trained, by weights, python "
        "or hf:, and is adapted by arms that need no source",
    )
    weights: str | None = Field(
        default=None,
        description="safetensors or .pth file of weights trained elsewhere, instead of "
        "pre-training, or a folder of `crosscity segmenter export`, which says its architecture",
    )
    backbone_weights: str | None = Field(
        default=None,
        description="safetensors or .pth file of ImageNet weights that pre-training starts from; "
        "package:<name>/<path> is a file of an installed Python package",
    )
    rename: dict[str, str | None] = Field(
        default_factory=dict,
        description="for what names in the weight file begin with, what they begin with here; "
        "null: they are left out",
    )
    image_size: Size | None = Field(
        default=None,
        description="[height, width] of the images that weights from elsewhere were trained on; "
        "null: what the weight file says, or the size of the source's images",
    )
    pretraining: Changes = Field(
        default_factory=dict, description="fields of PretrainingSettings that differ"
    )

    @property
    def is_of_hub(self) -> bool:
        """Whether it is a network of Hugging Face, which brings its weights."""
        return (self.architecture or "").startswith(HUB_PREFIX)

    @model_validator(mode="before")
    @classmethod
    def _own_function_is_python(cls, value: object) -> object:
        """`architecture: python:module:function`, as manifests have it, is `python:`."""
        if not isinstance(value, Mapping) or "python" in value:
            return value
        architecture = value.get("architecture")
        if not isinstance(architecture, str) or not is_plug_in(architecture):
            return value
        function = function_of(architecture).strip()
        return {**value, "architecture": None, "python": function}

    def _check_it_comes_trained(self) -> None:
        brings = self.weights or self.python or self.is_of_hub
        if not brings or self.backbone_weights is not None:
            raise ValueError(
                "there is nothing to pre-train it on: give source, or the weights of the whole "
                "network"
            )
        if self.pretraining:
            raise ValueError("without a source nothing is pre-trained: remove pretraining")

    @model_validator(mode="after")
    def _one_way_to_build_it(self) -> Self:
        if self.architecture is not None and self.python is not None:
            raise ValueError("give either architecture or python")
        if self.architecture is None and self.python is None:
            if self.weights is None:
                raise ValueError(
                    "give architecture or python, or the folder of a whole segmenter as weights"
                )
            if self.options or self.rename:
                raise ValueError(
                    "the folder under weights says its options: remove options, rename"
                )
        if self.weights is not None and self.backbone_weights is not None:
            raise ValueError("with weights of the whole network, backbone_weights are of no use")
        if self.source is None:
            self._check_it_comes_trained()
        files = self.weights or self.backbone_weights
        if self.rename and files is None:
            raise ValueError("rename is about a weight file, and there is none")
        if files is not None and self.is_of_hub:
            raise ValueError(
                "a network of Hugging Face brings its weights: remove weights and "
                "backbone_weights, or name the checkpoint that holds them"
            )
        return self

    @model_validator(mode="after")
    def _labels_are_classes(self) -> Self:
        """Labels of a network of Hugging Face that are mapped to a class that nobody has."""
        labels = self.options.get("labels")
        if not self.is_of_hub or not isinstance(labels, dict):
            return self
        if self.options.get("new_classifier"):
            raise ValueError("with new_classifier, the checkpoint's labels are of no use")
        known = self.options.get("class_names") or [one.name for one in CLASSES]
        unknown = [ours for ours in labels.values() if ours != "void" and ours not in known]
        if unknown:
            raise ValueError(
                f"options.labels maps to {unknown[0]!r}, which is none of the classes: "
                f"{', '.join(map(str, known))}, or void"
            )
        return self


class Safeguard(Entry):
    """What readapt-city does when an adaptation looks harmful (docs/operate.md)."""

    mode: Literal["keep", "report", "off"] = Field(
        default="keep",
        description="keep: the earlier segmenter stays promoted; report: it is only said; off",
    )
    tolerance: Fraction = Field(
        default=0.002, description="fall of the two times' agreement (kappa) that is of no concern"
    )
    drift: Fraction = Field(
        default=0.1, description="bits by which the predicted classes may drift"
    )
    information: float = Field(
        default=0.5,
        ge=0,
        description="bits by which the mutual information of pixel and class may fall",
    )


class Training(Entry):
    """How a segmenter is adapted and fine-tuned: a preset, and what differs from it."""

    preset: Literal["paper", "lab", "demo", "best"]
    adaptation: Changes = Field(
        default_factory=dict, description="fields of AdaptationSettings that differ"
    )
    fine_tuning: Changes = Field(
        default_factory=dict, description="fields of FineTuningSettings that differ"
    )
    source_free: Changes = Field(
        default_factory=dict, description="fields of SourceFreeSettings that differ"
    )
    checkpoint_every: int = Field(default=50, ge=1, description="steps: what a kill can lose")
    image_size: Size | Auto | None = Field(
        default=None,
        description="[height, width] at which source, target and test images go through the "
        "network (lab: [256, 512]); auto: chosen without a label for each segmenter that is "
        "adapted, never beyond the size that it was trained at; null: the size that it was trained "
        "at, and auto for source_free where nothing tells it",
    )
    safeguard: Safeguard = Safeguard()


class Transfer(Entry):
    """From a segmenter's source set to the images of another set, without pairs and priors.

    The paper's Table 3 (SYNTHIA to Cityscapes), any pair of sets, and pictures without labels.
    """

    segmenter: Name = Field(description="the pre-trained segmenter to adapt")
    target: Name = Field(description="the data set to adapt to")
    target_split: str = Field(
        default="train", description="its images that are adapted to; their labels are not read"
    )
    test_split: str | None = Field(
        default="val",
        description="its images that are scored on; null: nothing is scored, as where the target "
        "has no labels",
    )
    arm: str | None = Field(
        default=None,
        description="how it is adapted where no command says: an arm for sets (docs/method.md) or "
        "a recipe; null: ga_ca, and source_free where the segmenter has no source",
    )
    training: Name = Field(default="demo", description="an entry of `trainings`")
    protocol: Protocol | Name | None = Field(
        default=None,
        description="how classes count; an own name is an entry of `protocols`; default: the "
        "target's own, camvid11 for CamVid and score19 for the others",
    )
    evaluation_size: EvaluationSize = None

    def scored_on(self, target: DatasetEntry) -> str | None:
        """The split of the target that is scored on; ``None``: nothing is scored."""
        return self.test_split if target.has_labels else None


class Catalog(Entry):
    """Everything that exists: the whole of `data_catalog.yaml`."""

    version: Literal[1]
    name: Name | None = Field(
        default=None,
        description="where several catalogs are deployed to one server: goes into the names of the "
        "deployments that are of no city, as paper-tables/NAME",
    )
    include: str | list[str] = Field(
        default_factory=list,
        description="further files below the catalog's folder, as cities/*.yaml; the entries of "
        "their sections (cities, datasets, ...) are added to these",
    )
    store: Name = Field(description="the entry of `stores` that artifacts go to")
    compute: Name = Field(default="laptop", description="the default compute profile")
    stores: dict[Name, StoreEntry] = Field(min_length=1)
    computes: dict[Name, ComputeProfile] = Field(
        default_factory=lambda: {"laptop": ComputeProfile()}
    )
    datasets: dict[Name, DataSet] = Field(default_factory=dict)
    segmenters: dict[Name, SegmenterEntry] = Field(default_factory=dict)
    trainings: dict[Name, Training] = Field(default_factory=dict)
    cities: dict[Name, City] = Field(default_factory=dict)
    recipes: dict[Name, RecipeEntry] = Field(default_factory=dict)
    transfers: dict[Name, Transfer] = Field(default_factory=dict)
    protocols: dict[Name, ProtocolEntry] = Field(default_factory=dict)
    tracking: Tracking | None = Field(
        default=None, description="watch trainings live; null: history.parquet alone"
    )
    deployments: dict[FlowName, Deployed] = Field(
        default_factory=dict,
        description="where flows run that are not to run in the work pool crosscity",
    )
    accounts: dict[Name, Account] = Field(
        default_factory=dict,
        description="accounts at street-view services: what all runs on all machines share",
    )
