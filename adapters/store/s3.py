"""What S3 does in one request, where the general file system of fsspec takes two or three.

`cat_file` asks for the size first (HEAD, and LIST where nothing is there), `cp_file` likewise.
Here an object comes with its tag, which later says whether it has changed.
"""

from __future__ import annotations

import logging
from asyncio import AbstractEventLoop
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol, TypeGuard

from fsspec.asyn import sync

_LOG = logging.getLogger("crosscity.store")
LARGEST_COPY: Final = 5 * 10**9
"""Bytes of the largest object that S3 copies in one request (its documentation of CopyObject)."""
_MOST_KEYS: Final = 1000
"""Objects that it removes in one request (its documentation of DeleteObjects)."""


@dataclass(frozen=True)
class Fetched:
    """An object as it was read.

    Attributes:
        data: Its bytes; ``None`` where it is still what `tag` was given for.
        tag: What tells one content of it from another; empty where the server gives none.
    """

    data: bytes | None
    tag: str


@dataclass(frozen=True)
class Unfinished:
    """An upload in parts that has not ended.

    Attributes:
        bucket: Where it would go.
        key: What the object would be called.
        name: What S3 calls the upload.
        written: When something was sent last, in seconds since 1970.
        bytes: What the parts that were sent take.
    """

    bucket: str
    key: str
    name: str
    written: float
    bytes: int


class S3Files(Protocol):
    """What is used of `s3fs.S3FileSystem`."""

    loop: AbstractEventLoop

    def call_s3(self, method: str, **arguments: object) -> dict[str, Any]:
        """One request, tried again as s3fs does; its errors are Python's own."""

    def split_path(self, path: str) -> tuple[str, str, str | None]:
        """Bucket, key and version."""

    def invalidate_cache(self, path: str) -> None:
        """Has a listing forgotten."""


def is_s3(files: object) -> TypeGuard[S3Files]:
    """Whether a file system of fsspec speaks to S3."""
    return callable(getattr(files, "call_s3", None))


def get(
    files: S3Files, path: str, *, unless: str = "", part: tuple[int, int] | None = None
) -> Fetched | None:
    """An object in one request; ``None`` where there is none.

    Args:
        files: The file system.
        path: Bucket and key.
        unless: Its tag when it was read before: it is sent again only if it has another.
        part: Where the wanted bytes begin and how many, at least one; all by default. Nothing where
            the object ends before them.

    Raises:
        Exception: What s3fs raises where S3 does not answer or refuses, or has no such bucket.
    """
    bucket, key, _ = files.split_path(path)
    condition = {"IfNoneMatch": unless} if unless else {}
    if part is not None:
        condition["Range"] = f"bytes={part[0]}-{part[0] + part[1] - 1}"
    try:
        answer = files.call_s3("get_object", Bucket=bucket, Key=key, **condition)
    except FileNotFoundError as error:
        if lacks_bucket(error):
            raise
        return None
    except OSError as error:
        if unless and status_of(error) == HTTPStatus.NOT_MODIFIED:
            return Fetched(None, unless)
        if part and status_of(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return Fetched(b"", "")
        raise
    body = answer["Body"]
    try:
        data = bytes(sync(files.loop, body.read))
    finally:
        body.close()
    return Fetched(data, str(answer.get("ETag") or ""))


def copy(files: S3Files, source: str, target: str) -> None:
    """Copies an object of at most `LARGEST_COPY` bytes on the server.

    Raises:
        FileNotFoundError: There is no such object.
    """
    (from_bucket, from_key, _), (bucket, key, _) = map(files.split_path, (source, target))
    files.call_s3(
        "copy_object",
        Bucket=bucket,
        Key=key,
        CopySource={"Bucket": from_bucket, "Key": from_key},
    )
    files.invalidate_cache(target)


def remove(files: S3Files, path: str) -> None:
    """Removes an object, or all below a folder; none there is no error.

    Two requests for up to a thousand objects: `rm` of fsspec asks five times whether there are any.

    Raises:
        OSError: An object could not be removed.
    """
    bucket, key, _ = files.split_path(path)
    found: list[str] = []
    going_on: dict[str, str] = {}
    while True:
        answer = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/", **going_on)
        found += [one["Key"] for one in answer.get("Contents", [])]
        if not answer.get("IsTruncated"):
            break
        going_on = {"ContinuationToken": answer["NextContinuationToken"]}
    if not found:
        files.call_s3("delete_object", Bucket=bucket, Key=key)
    for start in range(0, len(found), _MOST_KEYS):
        some = [{"Key": one} for one in found[start : start + _MOST_KEYS]]
        answer = files.call_s3(
            "delete_objects", Bucket=bucket, Delete={"Objects": some, "Quiet": True}
        )
        if answer.get("Errors"):
            first = answer["Errors"][0]
            raise OSError(f"{first.get('Key')} cannot be removed: {first.get('Code')}")
    files.invalidate_cache(path)


def unfinished(files: S3Files, path: str) -> list[Unfinished]:
    """Uploads in parts below a folder that have not ended; S3 keeps, and bills, their parts.

    s3fs sends what is larger than twice its chunk (100 MB) in parts; a process that is killed
    meanwhile leaves them. Empty where it is not admitted to list them.
    """
    bucket, key, _ = files.split_path(path)
    prefix = f"{key}/" if key else ""
    found: list[Unfinished] = []
    going_on: dict[str, str] = {}
    while True:
        try:
            answer = files.call_s3(
                "list_multipart_uploads", Bucket=bucket, Prefix=prefix, **going_on
            )
        except PermissionError as error:
            _LOG.warning("uploads that have not ended cannot be listed: %s", error)
            return found
        for one in answer.get("Uploads", []):
            upload = {"Key": str(one["Key"]), "UploadId": str(one["UploadId"])}
            parts = files.call_s3("list_parts", Bucket=bucket, **upload).get("Parts", [])
            size = sum(int(part["Size"]) for part in parts)
            last = max((part["LastModified"] for part in parts), default=one["Initiated"])
            written = last.timestamp()
            found.append(Unfinished(bucket, upload["Key"], upload["UploadId"], written, size))
        if not answer.get("IsTruncated"):
            return found
        going_on = {
            "KeyMarker": answer["NextKeyMarker"],
            "UploadIdMarker": answer["NextUploadIdMarker"],
        }


def abandon(files: S3Files, path: str, upload: str) -> None:
    """Removes the parts of an upload that has not ended; none there is no error."""
    bucket, key, _ = files.split_path(path)
    try:
        files.call_s3("abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload)
    except FileNotFoundError:
        return


def lacks_bucket(error: Exception) -> bool:
    """Whether it is not the object that is missing, but all of the bucket."""
    answer = getattr(error.__cause__, "response", None)
    found = answer.get("Error", {}) if isinstance(answer, dict) else {}
    return bool(found.get("Code") == "NoSuchBucket")


def status_of(error: OSError) -> int | None:
    """The HTTP status of the answer that s3fs made an error of."""
    answer = getattr(error.__cause__, "response", None)
    status = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    number = status.get("HTTPStatusCode")
    return number if isinstance(number, int) else None
