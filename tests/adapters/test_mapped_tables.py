"""Tables whose cells stay on disk."""

from __future__ import annotations

import os
import time

import numpy as np
import pyarrow as pa
import pytest

from adapters import mapped_tables
from adapters.mapped_tables import STALE_DAYS, mapped_table
from adapters.store.places import file_sha256
from adapters.tables import TableError, write_table

SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("data", pa.binary())])
CELLS = [np.random.default_rng(i).bytes(2**20) for i in range(24)]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    mapped_tables._sweep.cache_clear()
    return tmp_path / "cache" / "crosscity" / "tables"


@pytest.fixture
def parquet(tmp_path):
    rows = [{"name": str(i), "data": cell} for i, cell in enumerate(CELLS)]
    write_table(tmp_path / "t.parquet", pa.Table.from_pylist(rows, schema=SCHEMA), SCHEMA)
    return tmp_path / "t.parquet"


def test_cells_are_on_disk_and_not_in_memory(cache, parquet):
    digest = file_sha256(parquet)
    mapped_table(parquet, digest, SCHEMA)
    before = pa.total_allocated_bytes()
    table = mapped_table(parquet, digest, SCHEMA)
    assert table["data"][7].as_py() == CELLS[7]
    assert pa.total_allocated_bytes() - before < 2**16 < sum(map(len, CELLS))
    assert [one.name for one in cache.glob("*/*")] == [f"{digest}.arrow"]


def test_a_copy_is_used_without_reading_the_parquet_again(cache, parquet):
    digest = file_sha256(parquet)
    whole = mapped_table(parquet, digest, SCHEMA)
    parquet.unlink()
    assert mapped_table(parquet, digest, SCHEMA).equals(whole)
    assert cache.is_dir()


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda _: b"", bytes])
def test_a_copy_that_is_cut_short_is_made_again(cache, parquet, damage):
    digest = file_sha256(parquet)
    whole = mapped_table(parquet, digest, SCHEMA).to_pylist()
    (copy,) = cache.glob("*/*")
    copy.write_bytes(damage(copy.read_bytes()))
    assert mapped_table(parquet, digest, SCHEMA).to_pylist() == whole


def test_a_copy_of_another_schema_is_made_again(cache, parquet):
    digest = file_sha256(parquet)
    mapped_table(parquet, digest, SCHEMA)
    (copy,) = cache.glob("*/*")
    other = pa.table({"name": ["x"]})
    with pa.OSFile(str(copy), "wb") as file, pa.ipc.new_file(file, other.schema) as writer:
        writer.write_table(other)
    assert mapped_table(parquet, digest, SCHEMA)["data"][0].as_py() == CELLS[0]


def test_where_no_copy_can_be_kept_the_table_is_read_and_that_is_logged(
    tmp_path, parquet, monkeypatch, caplog
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert mapped_table(parquet, file_sha256(parquet), SCHEMA)["data"][1].as_py() == CELLS[1]
    assert "held in memory instead; set XDG_CACHE_HOME" in caplog.text


def test_copies_that_nobody_opens_are_removed(cache, parquet):
    digest = file_sha256(parquet)
    mapped_table(parquet, digest, SCHEMA)
    (copy,) = cache.glob("*/*")
    stale = copy.with_name("stale.arrow")
    stale.write_bytes(b"x")
    then = time.time() - (STALE_DAYS + 1) * 86400
    os.utime(stale, (then, then))
    mapped_tables._sweep.cache_clear()
    mapped_table(parquet, digest, SCHEMA)
    assert [one.name for one in cache.glob("*/*")] == [copy.name]


def test_a_foreign_file_is_refused(cache, tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError):
        mapped_table(tmp_path / "x.parquet", "0" * 64, SCHEMA)
    assert not cache.exists() or list(cache.glob("*/*")) == []


@pytest.mark.usefixtures("cache")
def test_a_table_that_cannot_be_read_is_not_laid_on_the_cache(tmp_path, caplog):
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "x.parquet"
    with pytest.raises(TableError, match="Not a directory"):
        mapped_table(path, "0" * 64, SCHEMA)
    assert "cache folder" not in caplog.text
