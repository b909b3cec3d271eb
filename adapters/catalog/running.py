"""Entries that say where the work is done and what is made of it is kept, but not what it is."""

from __future__ import annotations

from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from adapters.catalog.entry import Entry, Name


class StoreEntry(Entry):
    """Where artifacts are kept: a folder or any fsspec URL."""

    url: str = Field(description="folder or fsspec URL (s3://bucket/prefix); ${NAME} from env")
    options: dict[str, Any] = Field(
        default_factory=dict, description="fsspec options; secrets as ${NAME}"
    )
    patience_minutes: float = Field(
        default=15.0,
        ge=0,
        description="how long a store behind a network may be away before a run fails (exit code "
        "75); 0 fails at once",
    )
    cache_gigabytes: float = Field(
        default=100.0,
        gt=0,
        description="what local copies of a remote store's files may take on each machine; those "
        "used longest ago are removed beyond it",
    )
    pack: bool = Field(
        default=False,
        description="small files of an artifact become one object of a store behind a network: "
        "fewer requests; releases before this setting cannot read such artifacts",
    )


class ComputeProfile(Entry):
    """What a machine offers."""

    device: str = Field(default="cpu", description="a torch device")
    devices: int = Field(default=1, ge=1, description="how many of them train together")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="of products in training; weights stay fp32"
    )
    threads: int = Field(default=2, ge=1, description="threads of one training process")
    workers: int = Field(default=2, ge=1, description="images or pairs worked on at once")
    at_once: int | None = Field(
        default=None,
        ge=1,
        description="trainings, matchings and judgements that use the device at once, over all "
        "runs; null: one on a GPU, any number on a processor",
    )
    at_once_in: Literal["machine", "store"] = Field(
        default="machine",
        description="whether at_once counts the runs of each machine or all runs on the store",
    )
    runner: Literal["threads", "processes", "dask"] = Field(
        default="threads",
        description="what extracts priors: this process, as many processes of this machine as "
        "`workers` says, or the workers of a dask scheduler",
    )
    address: str | None = Field(
        default=None, description="of the dask scheduler, as tcp://host:8786; may be ${NAME}"
    )

    @model_validator(mode="after")
    def _address_where_it_is_read(self) -> Self:
        if self.runner == "dask" and not self.address:
            raise ValueError("runner dask needs the address of a scheduler: address: tcp://...")
        if self.runner != "dask" and self.address:
            raise ValueError(f"nothing reads address with runner {self.runner}: remove it")
        return self


class Tracking(Entry):
    """Where the histories of trainings are watched while they run, beside the artifacts."""

    kind: Literal["tensorboard", "mlflow"] = Field(
        default="tensorboard",
        description="event files of TensorBoard, or runs of MLflow; each is an extra to install",
    )
    folder: str | None = Field(
        default=None,
        description="of the event files, one folder below it for each training, or of MLflow's "
        "database; default: .crosscity/<kind>; ${NAME} from env",
    )

    @property
    def place(self) -> str:
        """The folder."""
        return self.folder or f".crosscity/{self.kind}"


FlowName = Literal[
    "pretrain-segmenter",
    "adapt-transfer",
    "paper-tables",
    "harvest-city",
    "watch-city",
    "extract-priors",
    "adapt-city",
    "evaluate-city",
    "readapt-city",
    "predict-city",
]
"""Flows that have deployments."""
STAGES: Final[tuple[FlowName, ...]] = (
    "harvest-city",
    "extract-priors",
    "adapt-city",
    "evaluate-city",
)
"""Of those, what readapt-city can start instead of doing it itself."""


class Deployed(Entry):
    """On which machines the deployments of a flow run."""

    pool: Name = Field(default="crosscity", description="the work pool, which workers serve")
    compute: Name | None = Field(
        default=None,
        description="the compute profile that its runs get; null: the one of the worker's machine",
    )
    stages: Literal["here", "deployments"] = Field(
        default="here",
        description="of readapt-city: make its stages in its own run, or start their deployments "
        "and wait, so that each runs in its own pool",
    )
