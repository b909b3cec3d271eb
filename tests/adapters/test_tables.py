"""Parquet tables: the same bytes for the same rows, and one sentence for anything else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.tables import TableError, added_field, read_table, write_table

SCHEMA = pa.schema(
    [
        pa.field("pair_id", pa.string(), nullable=False),
        pa.field("mask", pa.binary()),
        pa.field("fraction", pa.float64()),
        pa.field("matches", pa.int32()),
        pa.field("captured_at", pa.timestamp("us", tz="UTC")),
    ],
    metadata={"what": "priors"},
)


def rows(count: int = 100) -> pa.Table:
    return pa.table(
        {
            "pair_id": [f"pair-{i:05d}" for i in range(count)],
            "mask": [bytes([i % 251]) * (i % 40) if i % 7 else None for i in range(count)],
            "fraction": [i / 3 for i in range(count)],
            "matches": pa.array([i * 11 for i in range(count)], pa.int32()),
            "captured_at": pa.array([i * 10**9 for i in range(count)], SCHEMA.types[4]),
        },
        schema=SCHEMA,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "part-00000.parquet"


@pytest.mark.parametrize("count", [0, 1, 100])
def test_what_is_written_is_read(path, count) -> None:
    write_table(path, rows(count), SCHEMA)
    table = read_table(path, SCHEMA)
    assert table.equals(rows(count))
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


cells = st.tuples(
    st.text(max_size=5),
    st.none() | st.binary(max_size=20),
    st.none() | st.floats(),
    st.none() | st.integers(-(2**31), 2**31 - 1),
)


@given(st.lists(cells, max_size=20), st.integers(0, 20))
def test_any_rows_in_any_chunks_give_one_file(tmp_path_factory, values, cut) -> None:
    columns = list(zip(*values, strict=True)) or [[]] * 4
    arrays = [pa.array(list(c), t) for c, t in zip(columns, SCHEMA.types[:4], strict=True)]
    schema = pa.schema(list(SCHEMA)[:4])
    table = pa.Table.from_arrays(arrays, schema=schema)
    folder = tmp_path_factory.mktemp("tables")
    write_table(folder / "one", table, schema)
    pieces = pa.concat_tables([table.slice(0, cut), table.slice(cut)])
    write_table(folder / "two", pieces.select(reversed(schema.names)), schema)
    assert (folder / "one").read_bytes() == (folder / "two").read_bytes()
    # NaN does not equal itself, so compare what is written of what was read.
    write_table(folder / "three", read_table(folder / "one", schema), schema)
    assert (folder / "one").read_bytes() == (folder / "three").read_bytes()
    shutil.rmtree(folder)


def test_another_process_writes_the_same_bytes(path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "from test_tables import SCHEMA, rows, write_table;"
        "write_table(Path(sys.argv[2]), rows(), SCHEMA)"
    )
    here = str(Path(__file__).parent)
    other = path.with_name("other")
    subprocess.run([sys.executable, "-c", script, here, str(other)], check=True)
    write_table(path, rows().replace_schema_metadata({"made": "elsewhere"}), SCHEMA)
    assert path.read_bytes() == other.read_bytes()


def refusal(path: Path, **limits: int) -> str:
    with pytest.raises(TableError) as caught:
        read_table(path, SCHEMA, **limits)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_file_cut_short_anywhere_is_refused(path) -> None:
    write_table(path, rows(20), SCHEMA)
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        assert "delete it and run" in refusal(path)


def test_an_altered_byte_is_refused_or_changes_nothing(path) -> None:
    write_table(path, rows(20), SCHEMA)
    whole = path.read_bytes()
    refused = 0
    for at in range(4, len(whole), 5):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            table = read_table(path, SCHEMA)
        except TableError:
            refused += 1
        else:  # a byte of the footer that says nothing about the rows, such as a statistic
            assert table.equals(rows(20))
    assert refused > 0.3 * len(whole) / 5


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"\xff\xd8 a picture", b"a,b\n1,2"])
def test_a_foreign_file_is_refused(path, content) -> None:
    path.write_bytes(content)
    assert "no Parquet" in refusal(path)


def test_an_absent_file_and_a_folder_are_refused(path) -> None:
    assert "is not there" in refusal(path)
    path.mkdir()
    refusal(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.drop_columns(["mask"]), "lacks the column mask"),
        (
            lambda t: t.set_column(3, "matches", t["matches"].cast(pa.int64())),
            "int64 in column matches instead of int32",
        ),
        (
            lambda t: t.set_column(0, "pair_id", pa.nulls(t.num_rows, pa.string())),
            "empty cells in column pair_id",
        ),
    ],
)
def test_another_schema_is_refused(path, change, said) -> None:
    pq.write_table(change(rows()), path)
    assert said in refusal(path)


def test_columns_of_the_release_after_are_left_out(path) -> None:
    table = rows()
    pq.write_table(table.append_column("more", table["mask"]), path)
    assert read_table(path, SCHEMA).equals(table)


def test_a_column_that_was_added_since_is_null_in_older_files(path) -> None:
    newer = pa.schema([*SCHEMA, added_field("more", pa.float64())])
    write_table(path, rows(), SCHEMA)
    found = read_table(path, newer)
    assert found.schema.names == newer.names
    assert found["more"].null_count == found.num_rows == rows().num_rows
    assert read_table(path, newer, columns=["more"]).num_rows == rows().num_rows
    write_table(path, found, newer)
    assert read_table(path, newer).equals(found)
    assert read_table(path, SCHEMA).equals(rows())


def test_columns_in_another_order_are_put_right(path) -> None:
    pq.write_table(rows().select(list(reversed(SCHEMA.names))), path)
    assert read_table(path, SCHEMA).equals(rows())
    some = read_table(path, SCHEMA, columns=["matches", "pair_id"])
    assert some.equals(rows().select(["matches", "pair_id"]))
    with pytest.raises(TableError, match="no column 'absent' to read"):
        read_table(path, SCHEMA, columns=["absent"])


def test_limits_are_kept(path) -> None:
    bomb = pa.table({"pair_id": ["a" * 1000] * 5000}, schema=pa.schema([SCHEMA.field(0)]))
    schema = bomb.schema
    write_table(path, bomb, schema)
    assert path.stat().st_size < 10_000
    assert read_table(path, schema, max_bytes=10_000_000).num_rows == 5000
    assert "above the limit of 4999" in refusal(path, max_rows=4999)
    assert "above the limit of 100" in refusal(path, max_bytes=100)


@pytest.mark.parametrize(
    "table",
    [
        rows().drop_columns(["mask"]),
        rows().rename_columns(["a", "b", "c", "d", "e"]),
        rows().set_column(3, "matches", pa.array([2**40] * 100)),
        rows().set_column(2, "fraction", pa.array(["x"] * 100)),
        rows().set_column(0, "pair_id", pa.nulls(100, pa.string())),
    ],
)
def test_a_table_that_does_not_fit_is_not_written(path, table) -> None:
    with pytest.raises(TableError):
        write_table(path, table, SCHEMA)
    assert list(path.parent.iterdir()) == []


def test_a_failed_write_keeps_the_old_file(path, monkeypatch) -> None:
    write_table(path, rows(3), SCHEMA)

    def half(_: pa.Table, where: Path, **__: object) -> None:
        where.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("adapters.tables.pq.write_table", half)
    with pytest.raises(OSError, match="No space"):
        write_table(path, rows(4), SCHEMA)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert read_table(path, SCHEMA).num_rows == 3


def test_a_file_that_cannot_be_read_is_not_said_to_be_damaged(path, monkeypatch) -> None:
    write_table(path, rows(3), SCHEMA)
    with pytest.raises(TableError, match=r"cannot be read \(Not a directory\)"):
        read_table(path / "below.parquet", SCHEMA)

    def fails(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("adapters.tables.pq.ParquetFile", fails)
    with pytest.raises(TableError, match=r"cannot be read \(Input/output error\)"):
        read_table(path, SCHEMA)
