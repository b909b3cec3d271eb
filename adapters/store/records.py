"""What identifies an artifact, and the `artifact.json` that lies beside its files."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Annotated, Any, Final, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    ValidationError,
    field_validator,
)

from adapters.store.errors import NewerReleaseError, StoreError
from adapters.store.names import check_city, check_file_name, check_key, check_kind

FORMAT: Final = 1
"""Number of the manifest's format. It is raised only when an older release would misread a newer
manifest. A field that older releases may leave alone is not a reason: they keep what they do not
know. Manifests from before there was a number have none, and are read as this one."""
PACKED_FORMAT: Final = 2
"""Of a manifest with files in a pack, which an earlier release would take for missing."""
NEWEST_FORMAT: Final = PACKED_FORMAT
"""The highest that this release reads."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
KEY_LENGTH = 24


def canonical_json(value: object) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces: the same value gives the same bytes.

    Raises:
        StoreError: for NaN, infinities, keys that are not text, and what JSON cannot hold.
    """
    text = json.dumps(plain_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def plain_json(value: object, *, nan_as_null: bool = False) -> JsonValue:
    """Copy of `value` in dicts, lists, str, int, float, bool and None; tuples become lists.

    Args:
        value: anything JSON can hold.
        nan_as_null: write NaN and infinities as null (JSON has no NaN); otherwise they are errors.

    Raises:
        StoreError: where `value` holds something that JSON cannot.
    """
    if value is None or isinstance(value, str | bool):  # most of what there is, so it comes first
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise StoreError(f"keys of JSON must be text, not {next(iter(value))!r}: convert them")
        return {key: plain_json(item, nan_as_null=nan_as_null) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item, nan_as_null=nan_as_null) for item in value]
    if isinstance(value, Integral):  # numpy's too
        return int(value)
    if isinstance(value, Real):
        if math.isfinite(value):
            return float(value)
        if nan_as_null:
            return None
        raise StoreError(f"{value} cannot be part of an artifact's identity: give a finite number")
    raise StoreError(
        f"a {type(value).__name__} cannot be written as JSON: convert it to text or a plain number"
    )


def plain_object(values: Mapping[str, Any], *, nan_as_null: bool = False) -> dict[str, JsonValue]:
    """`plain_json` of each value of a JSON object."""
    plain = plain_json(values, nan_as_null=nan_as_null)
    if not isinstance(plain, dict):
        raise StoreError("parameters and summary must be mappings")
    return plain


def artifact_key(
    kind: str,
    *,
    inputs: Mapping[str, str] | Sequence[str],
    parameters: Mapping[str, Any],
    version: str,
) -> str:
    """Key of the artifact that these inputs, parameters and algorithm give.

    Args:
        kind: kind of artifact, such as `static_prior`.
        inputs: digests of the inputs, by role or in an order that matters.
        parameters: JSON values; 1 and 1.0 are different, tuples and lists are not.
        version: version of the algorithm, bumped by hand when its results change.

    Returns:
        The first 24 hexadecimal digits of the SHA-256 of all of it as canonical JSON.
    """
    identity = {
        "kind": check_kind(kind),
        "inputs": plain_inputs(inputs),
        "parameters": dict(parameters),
        "version": version,
    }
    return hashlib.sha256(canonical_json(identity)).hexdigest()[:KEY_LENGTH]


def plain_inputs(inputs: Mapping[str, str] | Sequence[str]) -> dict[str, str] | list[str]:
    """The inputs' digests as a dict or list; a single text is an error, as it is most likely one.

    Raises:
        StoreError: if `inputs` is one text or holds anything but text.
    """
    if isinstance(inputs, str | bytes):
        raise StoreError("inputs must be a list or a mapping of digests, not a single text")
    plain = dict(inputs) if isinstance(inputs, Mapping) else list(inputs)
    values = plain.values() if isinstance(plain, dict) else plain
    if not all(isinstance(value, str) for value in values):
        raise StoreError("inputs must be digests, that is texts (ArtifactRef.digest)")
    return plain


@dataclass(frozen=True)
class ArtifactRef:
    """Reference to a published artifact: what the orchestrator persists instead of data.

    Attributes:
        kind: kind of artifact.
        city: the catalog's name of the city.
        key: digest of inputs, parameters and algorithm (`artifact_key`).
        uri: place relative to the store's root, so that a moved store keeps its references.
        digest: SHA-256 over kind, key and the files' SHA-256: changes if and only if they do.
            Files that hold measured times (`Manifest.measured`) do not count.
    """

    kind: str
    city: str
    key: str
    uri: str
    digest: str

    def to_dict(self) -> dict[str, str]:
        """The reference as a JSON object."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The reference that `to_dict` gave; fields of a newer release are left alone.

        Raises:
            StoreError: if a field is missing or not a safe name, or the place is another one.
        """
        fields = ("kind", "city", "key", "uri", "digest")
        if not isinstance(values, Mapping) or not all(
            isinstance(values.get(field), str) for field in fields
        ):
            shown = sorted(map(str, values)) if isinstance(values, Mapping) else []
            raise StoreError(
                f"an artifact reference needs the texts {', '.join(fields)}; "
                f"this one has {', '.join(shown) or 'nothing'}"
            )
        folder = artifact_folder(values["kind"], values["city"], values["key"])
        if values["uri"] != folder:
            raise StoreError(f"an artifact reference to {folder} gives another place as its uri")
        return cls(**{field: values[field] for field in fields})


class FileEntry(BaseModel):
    """One file of an artifact: its size in bytes, its SHA-256 and, for tables, its rows.

    `at` says where it begins in the artifact's pack; None where it is an object of its own.
    What a newer release wrote beside these is kept.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    bytes: int = Field(ge=0)
    sha256: Sha256
    rows: int | None = Field(default=None, ge=0)
    at: int | None = Field(default=None, ge=0)


class Manifest(BaseModel):
    """The content of `artifact.json`; what a newer release wrote beside these fields is kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    format: int = Field(default=FORMAT, ge=0, description="of this file; see `FORMAT`")
    kind: str
    city: str
    key: str
    inputs: dict[str, str] | list[str]
    inputs_at: dict[str, str] = Field(
        default_factory=dict,
        description="<kind>/<city>/<key> of the inputs, by role; empty in older manifests",
    )
    parameters: dict[str, JsonValue]
    version: str = Field(description="version of the algorithm")
    code_version: str = Field(description="version of the package and commit, where known")
    made_at: AwareDatetime = Field(description="UTC")
    rows: int | None = Field(default=None, ge=0)
    files: dict[str, FileEntry]
    measured: tuple[str, ...] = Field(
        default=(), description="files that hold what the run took; not in the digest"
    )
    summary: dict[str, JsonValue] = Field(
        default_factory=dict, description="counts, failures by reason"
    )

    @field_validator("files")
    @classmethod
    def _safe_file_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            try:
                check_file_name(name)
            except StoreError as error:
                raise ValueError(str(error)) from None
        return files

    @field_validator("inputs_at")
    @classmethod
    def _safe_folders(cls, inputs_at: dict[str, str]) -> dict[str, str]:
        for place in inputs_at.values():
            try:
                artifact_place(place)
            except StoreError as error:
                raise ValueError(str(error)) from None
        return inputs_at

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) over kind, key and the SHA-256 of the files, less the measured."""
        return self._digest_of(set(self.files) - set(self.measured))

    def _digest_of(self, names: Collection[str]) -> str:
        identity = {
            "kind": self.kind,
            "key": self.key,
            "files": {name: self.files[name].sha256 for name in names},
        }
        return hashlib.sha256(canonical_json(identity)).hexdigest()

    @property
    def ref(self) -> ArtifactRef:
        """The reference to this artifact."""
        return ArtifactRef(self.kind, self.city, self.key, self.folder, self.digest)

    @property
    def folder(self) -> str:
        """Place of the artifact relative to the store's root."""
        return artifact_folder(self.kind, self.city, self.key)

    @cached_property
    def digest_folder(self) -> str:
        """Where the files lie in places without rename: each content has a folder of its own.

        Asked for at each file, so it is computed once: it hashes the names of all of them.
        Measured files count here: two writers of one artifact must not mix theirs.
        """
        return f"{self.folder}/{self._digest_of(self.files)[:16]}"

    @cached_property
    def packed(self) -> tuple[str, ...]:
        """Names of the files in the pack, in their order there."""
        at = {name: entry.at for name, entry in self.files.items() if entry.at is not None}
        return tuple(sorted(at, key=lambda name: (at[name], name)))

    @cached_property
    def pack(self) -> str:
        """Place of the pack relative to the store's root.

        It is named by what is in it and where, so that writers who pack differently do not mix;
        the dot keeps the name from being that of a file.
        """
        inside = [[name, self.files[name].at, self.files[name].sha256] for name in self.packed]
        digest = hashlib.sha256(canonical_json(inside)).hexdigest()
        return f"{self.digest_folder}/.pack-{digest[:16]}"

    def to_json(self) -> bytes:
        """The bytes of `artifact.json`; its digest is written with it and checked on reading."""
        values = {**self.model_dump(mode="json"), "digest": self.digest}
        for entry in values["files"].values():
            if entry["at"] is None:  # as in releases that have no packs
                del entry["at"]
        return (json.dumps(values, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: in a few words, if the bytes are cut short, altered or foreign.
            NewerReleaseError: if its format is newer than this release knows.
        """
        try:
            values = json.loads(data)
        except ValueError:
            raise ValueError("it is not JSON") from None
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")  # noqa: TRY004 - one kind of error
        stated = values.get("format", FORMAT)
        if isinstance(stated, int) and stated > NEWEST_FORMAT:
            raise NewerReleaseError(
                f"was made by a newer version of this program (its format is {stated}, this "
                f"version reads up to {NEWEST_FORMAT})"
            )
        digest = values.pop("digest", None)
        try:
            manifest = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "top level"
            raise ValueError(f"{where}: {first['msg']}") from None
        if digest != manifest.digest:
            raise ValueError("its digest does not fit its files")
        return manifest


def artifact_folder(kind: str, city: str, key: str) -> str:
    """`<kind>/<city>/<key>` of checked names."""
    return f"{check_kind(kind)}/{check_city(city)}/{check_key(key)}"


def is_artifact_folder(parts: Sequence[str]) -> bool:
    """Whether names could be kind, city and key of an artifact."""
    try:
        artifact_place("/".join(parts))
    except StoreError:
        return False
    return True


def artifact_place(uri: str) -> tuple[str, str, str]:
    """Kind, city and key of `<kind>/<city>/<key>`, which may come from a stored file.

    Raises:
        StoreError: if it is not of that form, or a name in it is not safe.
    """
    parts = uri.split("/")
    if len(parts) != 3:
        raise StoreError(f"{uri[:80]!r} is not a place of an artifact: <kind>/<city>/<key>")
    return check_kind(parts[0]), check_city(parts[1]), check_key(parts[2])
