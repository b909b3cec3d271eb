"""An object store on disk, for tests with several processes: objects appear whole or not at all.

Not a test: the scripts beside it import it. Like S3 it has no rename and no folders of its own, and
a conditional put.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem


class ObjectFiles(LocalFileSystem):
    protocol = ("objects",)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("objects://"))

    def pipe_file(self, path, value, mode="overwrite", **_):
        temporary = self._temporary(path)
        temporary.write_bytes(value)
        if mode == "create":
            os.link(temporary, path)
            temporary.unlink()
        else:
            temporary.rename(path)

    def put_file(self, lpath, rpath, **_):
        temporary = self._temporary(rpath)
        shutil.copyfile(lpath, temporary)
        temporary.rename(rpath)

    def _temporary(self, path):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        uploads = next(p for p in Path(path).parents if p.name == "bucket").parent / "uploads"
        uploads.mkdir(exist_ok=True)
        return uploads / secrets.token_hex(8)


fsspec.register_implementation("objects", ObjectFiles)


def url_of(kind: str, folder: Path) -> str:
    return f"objects://{folder}/bucket" if kind == "objects" else f"{folder}/bucket"
