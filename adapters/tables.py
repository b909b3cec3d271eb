"""Parquet tables with a fixed schema, the same bytes for the same table, and limits on reading."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

MAX_BYTES = 4 * 2**30
MAX_ROWS = 50_000_000
_ROWS_A_GROUP = 65_536
_COMPRESSION = "zstd"
_COMPRESSION_LEVEL = 3


_ADDED = {b"crosscity": b"added"}


def added_field(name: str, kind: pa.DataType) -> pa.Field:
    """A column that a schema has got since files of it were first written: null in older files."""
    return pa.field(name, kind, metadata=_ADDED)


class TableError(ValueError):
    """A table cannot be written or read; the message is one sentence with the file."""


def write_table(path: Path, table: pa.Table, schema: pa.Schema) -> None:
    """Write a Parquet file; the same rows give the same bytes with the same pyarrow.

    The file appears whole or not at all. Pages carry checksums, so that readers find altered bits.

    Args:
        path: the file to write or replace.
        table: columns of the schema's names, in any order, of types that cast without loss.
        schema: names, types and nullability of the file.

    Raises:
        TableError: if the table does not fit the schema.
        OSError: if the file cannot be written.
    """
    plain = _fitted(table, schema, Path(path))
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        pq.write_table(
            plain,
            temporary,
            row_group_size=_ROWS_A_GROUP,
            compression=_COMPRESSION,
            compression_level=_COMPRESSION_LEVEL,
            write_page_checksum=True,
        )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_table(
    path: Path,
    schema: pa.Schema,
    *,
    columns: Sequence[str] | None = None,
    max_bytes: int = MAX_BYTES,
    max_rows: int = MAX_ROWS,
) -> pa.Table:
    """Read a Parquet file that `write_table` wrote with the same schema.

    Columns that the schema does not have, as a newer release may write, are left out; those that it
    has got since (`added_field`) are null in files without them.

    Args:
        path: the file.
        schema: the names and types that the file must have.
        columns: read only these columns, in this order.
        max_bytes: limit of the file's size and of its size once decompressed.
        max_rows: limit of its rows.

    Returns:
        The rows, with exactly `schema` (or its chosen columns).

    Raises:
        TableError: if the file is missing, cannot be read, is cut short, altered, no Parquet, above
            a limit, or of another schema.
    """
    path = Path(path)
    unknown = sorted(set(columns or ()) - set(schema.names))
    if unknown:
        raise TableError(
            f"there is no column {unknown[0]!r} to read in {path}: ask for {schema.names}"
        )
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise TableError(f"{path} is not there: run the step that makes it again") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if size > max_bytes:
        raise TableError(f"{path} has {size} bytes, above the limit of {max_bytes}: split it")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            _check_limits(file.metadata, path, max_bytes, max_rows)
            _check_schema(file.schema_arrow, schema, path)
            wanted = schema if columns is None else pa.schema([schema.field(n) for n in columns])
            there = [field.name for field in wanted if field.name in file.schema_arrow.names]
            table = file.read(columns=there)
        table.validate(full=True)
    except TableError:
        raise
    except MemoryError:
        raise TableError(f"{path} does not fit into memory: split it") from None
    except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # pyarrow's own have none
            raise _unreadable(path, error) from None
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise TableError(
            f"{path} is cut short, altered or no Parquet ({reason.rstrip('.')}): "
            "delete it and run the step that makes it again"
        ) from None
    for field in wanted:
        if field.name not in there:
            table = table.append_column(field, pa.nulls(len(table), field.type))
    return _fitted(table, wanted, path)


def _unreadable(path: Path, error: OSError) -> TableError:
    """Of a file that may be sound: nothing says that it should be deleted."""
    return TableError(
        f"{path} cannot be read ({error.strerror}): see to its permissions and its disk"
    )


def _check_limits(metadata: pq.FileMetaData, path: Path, max_bytes: int, max_rows: int) -> None:
    if metadata.num_rows > max_rows:
        raise TableError(
            f"{path} has {metadata.num_rows} rows, above the limit of {max_rows}: split it"
        )
    groups = range(metadata.num_row_groups)
    unpacked = sum(metadata.row_group(group).total_byte_size for group in groups)
    if unpacked > max_bytes:
        raise TableError(
            f"{path} unpacks to {unpacked} bytes, above the limit of {max_bytes}: split it"
        )


def _check_schema(found: pa.Schema, wanted: pa.Schema, path: Path) -> None:
    have = {field.name: field.type for field in found}
    want = {field.name: field.type for field in wanted}
    advice = "it is of another version or another kind: run the step that makes it again"
    missing = sorted(
        field.name for field in wanted if field.name not in have and field.metadata != _ADDED
    )
    if missing:
        raise TableError(f"{path} lacks the column {', '.join(missing)}; {advice}")
    for name, kind in want.items():
        if name in have and have[name] != kind:
            raise TableError(
                f"{path} has {have[name]} in column {name} instead of {kind}; {advice}"
            )


def _fitted(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """The table with the schema's columns, order, types and metadata, each column in one piece."""
    if sorted(table.column_names) != sorted(schema.names):
        raise TableError(
            f"the table for {path} has columns {table.column_names} instead of {schema.names}: "
            "give exactly these"
        )
    for field in schema:
        if not field.nullable and table[field.name].null_count:
            raise TableError(f"{path} has empty cells in column {field.name}, which needs values")
    try:
        return table.select(schema.names).cast(schema).combine_chunks()
    except (pa.ArrowException, ValueError) as error:
        raise TableError(f"the table for {path} does not fit its schema ({error})") from None
