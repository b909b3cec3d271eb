"""The catalog's entries as pydantic models; every field says its unit and its default."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""Names become folder names and deployment names, so they are kept to lower case and digits."""

Longitude = Annotated[float, Field(ge=-180, le=180)]
Latitude = Annotated[float, Field(ge=-90, le=90)]
Fraction = Annotated[float, Field(ge=0, le=1)]


Changes = dict[str, bool | int | float | str | list[float]]
"""Settings of the science by field name; the science checks them."""


class Entry(BaseModel):
    """Base of all entries: unknown keys are errors, so a misspelt setting is never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GeoJsonPolygon(Entry):
    """A GeoJSON Polygon (RFC 7946): closed rings of [longitude, latitude]."""

    type: Literal["Polygon"]
    coordinates: list[list[tuple[Longitude, Latitude]]] = Field(min_length=1)

    @model_validator(mode="after")
    def _rings_are_closed(self) -> Self:
        for ring in self.coordinates:
            if len(ring) < 4 or ring[0] != ring[-1]:
                raise ValueError(
                    "every ring needs at least four positions and must end where it starts"
                )
        return self


class Area(Entry):
    """Where a city is: either a bounding box or a GeoJSON polygon, in WGS84 degrees."""

    bbox: tuple[Longitude, Latitude, Longitude, Latitude] | None = Field(
        default=None, description="[west, south, east, north] in WGS84 degrees"
    )
    geojson: GeoJsonPolygon | None = Field(default=None, description="a GeoJSON Polygon")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.bbox is None) == (self.geojson is None):
            raise ValueError("give either bbox or geojson")
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if west >= east:
                raise ValueError(
                    f"bbox has west {west} not below east {east}; "
                    "the order is [west, south, east, north]"
                )
            if south >= north:
                raise ValueError(
                    f"bbox has south {south} not below north {north}; "
                    "the order is [west, south, east, north]"
                )
        return self

    def bounds(self) -> tuple[float, float, float, float]:
        """The area's (west, south, east, north) in WGS84 degrees."""
        if self.bbox is not None:
            return self.bbox
        if self.geojson is None:  # excluded by the validator; said for the type checker
            raise ValueError("an area needs a bbox or a geojson polygon")
        outer = self.geojson.coordinates[0]
        longitudes = [position[0] for position in outer]
        latitudes = [position[1] for position in outer]
        return min(longitudes), min(latitudes), max(longitudes), max(latitudes)


class SimulatedProvider(Entry):
    """Procedural street views of `crosscity.simulation`."""

    kind: Literal["simulated"]
    style: str = Field(description="a name in crosscity.simulation.STYLES")


class FolderProvider(Entry):
    """Images on disk in the public layout of the cross-city data set."""

    kind: Literal["folder"]
    root: str = Field(description="folder that holds <City>/Images/...; ${NAME} is read from env")
    city: str | None = Field(
        default=None, description="name of the city's folder; default: the entry's own name"
    )
    licence: str = Field(description="licence of the images, carried into every artifact")
    attribution: str = Field(description="whom to credit, carried into every artifact")


class SimulatedLabels(Entry):
    """Exact labels of a simulated city: for evaluation and for the fine-tuned upper bound."""

    kind: Literal["simulated"]
    fine_tune_places: int = Field(
        default=90, ge=0, description="training places whose labels the fine-tuned arm may use"
    )


class CrossCityLabels(Entry):
    """`<City>/Labels/Test/<id>_eval.png` of the public layout (Cityscapes labelIds)."""

    kind: Literal["cross_city"]
    root: str = Field(description="folder that holds <City>/Labels/...; ${NAME} is read from env")
    city: str | None = None
    fine_tune_places: int = Field(default=0, ge=0)


class PriorSettings(Entry):
    """How the static prior is extracted (paper, Sec. 4.3)."""

    downscale: Literal[1, 2, 4] = Field(
        default=2, description="divides the image side before matching"
    )
    search_radius: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="pixels of the images as given; null searches everywhere"
    )
    superpixels: int = Field(default=200, ge=1, description="superpixels an image")
    k: int = Field(default=3, ge=0, description="more than k matched pixels make one static")


class City(Entry):
    """A city to adapt to."""

    provider: Annotated[SimulatedProvider | FolderProvider, Field(discriminator="kind")]
    area: Area | None = Field(default=None, description="where; providers of folders need none")
    places: int = Field(default=1600, ge=1, le=1_000_000, description="places to harvest")
    test_places: int = Field(default=100, ge=0, description="of these, held out for the test")
    seed: int = Field(default=0, ge=0, description="fixes which places are sampled")
    min_days_apart: float = Field(default=30, ge=0, description="between the two times of a pair")
    max_metres_apart: float = Field(default=10, gt=0, description="between the two captures")
    image_size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]] = Field(
        default=(647, 1280), description="[height, width] in pixels of the rendered views"
    )
    labels: Annotated[SimulatedLabels | CrossCityLabels, Field(discriminator="kind")] | None = (
        Field(default=None, description="labels of the test places, where there are any")
    )
    prior: PriorSettings = PriorSettings()
    segmenter: Name = Field(default="compact", description="the pre-trained segmenter to adapt")
    training: Name = Field(default="demo", description="an entry of `trainings`")
    pairs_per_part: int = Field(
        default=50, ge=1, le=10_000, description="pairs a shard: what a kill can lose"
    )
    failure_limit: Fraction = Field(
        default=0.05, description="fraction of images or pairs that may fail before the flow does"
    )
    schedule: str | None = Field(
        default=None, description="cron line (UTC) of readapt-city, e.g. '0 3 * * 1'"
    )

    @model_validator(mode="after")
    def _places_suffice(self) -> Self:
        if self.test_places >= self.places:
            raise ValueError(
                f"test_places ({self.test_places}) must be below places ({self.places}), "
                "or nothing is left to adapt on"
            )
        if self.provider.kind == "simulated" and self.area is None:
            raise ValueError("a simulated city needs an area")
        return self


class DataSet(Entry):
    """A labelled source set."""

    kind: Literal["simulated"]
    style: str = Field(description="a name in crosscity.simulation.STYLES")
    image_size: tuple[Annotated[int, Field(ge=32)], Annotated[int, Field(ge=32)]]
    train: int = Field(ge=1, description="training images")
    val: int = Field(ge=0, description="validation images: what settings are chosen on")
    test: int = Field(ge=0, description="test images: reported, never chosen on")
    seed: int = Field(default=0, ge=0)


class SegmenterEntry(Entry):
    """A segmenter and how it is pre-trained on its source set."""

    architecture: str
    options: dict[str, Any] = Field(default_factory=dict)
    source: Name = Field(description="the data set it is pre-trained on")
    weights: str | None = Field(
        default=None,
        description="safetensors file of weights trained elsewhere, instead of pre-training",
    )
    pretraining: Changes = Field(
        default_factory=dict, description="fields of PretrainingSettings that differ"
    )


class Training(Entry):
    """How a segmenter is adapted and fine-tuned: a preset, and what differs from it."""

    preset: Literal["paper", "lab", "demo"]
    adaptation: Changes = Field(
        default_factory=dict, description="fields of AdaptationSettings that differ"
    )
    fine_tuning: Changes = Field(
        default_factory=dict, description="fields of FineTuningSettings that differ"
    )
    checkpoint_every: int = Field(default=50, ge=1, description="steps: what a kill can lose")


class StoreEntry(Entry):
    """Where artifacts are kept: a folder or any fsspec URL."""

    url: str = Field(description="folder or fsspec URL (s3://bucket/prefix); ${NAME} from env")
    options: dict[str, Any] = Field(
        default_factory=dict, description="fsspec options; secrets as ${NAME}"
    )


class ComputeProfile(Entry):
    """What a machine offers."""

    device: str = Field(default="cpu", description="a torch device")
    threads: int = Field(default=2, ge=1, description="threads of one training process")
    workers: int = Field(default=2, ge=1, description="images or pairs worked on at once")


class Catalog(Entry):
    """Everything that exists: the whole of `data_catalog.yaml`."""

    version: Literal[1]
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
