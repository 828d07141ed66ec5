"""The user's own result file: Parquet, or CSV that no spreadsheet takes for formulas.

A text cell that a spreadsheet would run begins with = + - @, a tab or a line end; it gets an apostrophe in front. A
spreadsheet that takes another separator than ours begins a cell inside one of our cells, after ; , a tab or a line end:
such a sign there, with or without quotes before it, gets an apostrophe as well (OWASP, CSV Injection,
owasp.org/www-community/attacks/CSV_Injection). So does one that follows apostrophes already, so that what was written
can be read back: one apostrophe goes from each such place. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medai.errors import ConfigurationError, MedaiError, ServiceFailed, from_machine_failure
from medai.paths import expanded, why
from medai.records import sha256_of_file
from medai.workspace import sync_directory, sync_file

if TYPE_CHECKING:
    import polars as pl

_FORMULA = re.compile("'*[=+\\-@\t\r\n＝＋－＠]")
_FORMULA_INSIDE = re.compile("([;,\t\r\n])(?=[\"']*[=+\\-@＝＋－＠])")
_SUFFIXES = (".parquet", ".csv")
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class Destination:
    """Where the answers go.

    Args:
        path: a file whose suffix, .parquet or .csv, names its format.
        overwrite: whether a file that is there may be replaced.
        inputs: what is read; the answers must not fall among them.

    Raises:
        ConfigurationError: another suffix, a file that is there, no such folder, or a place among the inputs.
    """

    def __init__(self, path: Path, *, overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
        self.path = expanded(path).absolute()
        self.overwrite = overwrite
        self.suffix = self.path.suffix.lower()
        if self.suffix not in _SUFFIXES:
            raise _refused("has a suffix that names no format", "a file named ….parquet or ….csv", "another suffix")
        kind = _kind_at(self.path)
        if self.path.is_dir():
            raise _refused("is a folder", "the path of a file", "a folder")
        place = os.path.realpath(self.path)
        if any(Path(place).is_relative_to(os.path.realpath(expanded(one))) for one in inputs):
            raise _refused("lies among the inputs", "a place of its own", "an input, or a place inside one")
        if kind is not None and not overwrite:
            raise self._taken()
        if kind is not None and not (stat.S_ISREG(kind) or stat.S_ISLNK(kind)):
            raise _refused("is no plain file", "a file that can be replaced", "a pipe, a socket or a device")

    def write(self, table: pl.DataFrame) -> str:
        """Write the file beside its name and rename it, for its owner alone; return its SHA-256.

        Raises:
            ConfigurationError: a file of this name has come up meanwhile.
            ServiceFailed: the disk is full, or the place may not be written to; nothing is left behind.
        """
        beside = self.path.with_name(f".medai-{os.getpid()}.partial")
        try:
            _write(beside, table, self.suffix)
            sha256 = sha256_of_file(beside)
            if self.overwrite:
                beside.replace(self.path)
            else:
                self._claim(beside)
            sync_directory(self.path.parent)
        except OSError as failure:
            raise from_machine_failure(failure) or ServiceFailed(
                "the answers cannot be written",
                expected="a folder that may be written to",
                received=f"{type(failure).__name__} (errno {failure.errno})",
                action="correct --out, then run the same command again: finished stages are kept",
            ) from None
        finally:
            beside.unlink(missing_ok=True)
        return sha256

    def _claim(self, beside: Path) -> None:
        """Give the file its name unless the name is taken: a link is made only where nothing is."""
        try:
            os.link(beside, self.path)
        except FileExistsError:
            raise self._taken() from None
        except OSError as failure:
            if failure.errno not in _NO_LINKS:
                raise
            if os.path.lexists(self.path):
                raise self._taken() from None
            beside.replace(self.path)

    @staticmethod
    def _taken() -> MedaiError:
        return ConfigurationError(
            "the file of the answers is there already",
            expected="a new file",
            received="a path that is taken",
            action="name another with --out, or say --overwrite",
        )


def _kind_at(path: Path) -> int | None:
    """The mode of what stands at a path; None where nothing does, in a folder that is there."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError as failure:
        if path.parent.is_dir():
            return None
        received = why(failure)
    except OSError as failure:
        received = why(failure)
    raise _refused("has no place", "a file in a folder that is there", received)


def _refused(wrong: str, expected: str, received: str) -> ConfigurationError:
    return ConfigurationError(
        f"the file of the answers {wrong}", expected=expected, received=received, action="correct --out"
    )


def _write(path: Path, table: pl.DataFrame, suffix: str) -> None:
    from medai.tables import OWNER_ALONE, write_table

    if suffix == ".parquet":
        write_table(path, table.to_arrow(), mode=OWNER_ALONE)
    else:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_ALONE)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(as_csv(table))
    sync_file(path)


def as_csv(table: pl.DataFrame, rows: int = 1 << 16) -> Iterable[bytes]:
    """The table as CSV (RFC 4180) in UTF-8, so many rows at a time; a missing value is an empty cell."""
    cells: list[Callable[[object], str]] = [_cell_of(dtype) for dtype in table.dtypes]
    yield _lines([[safe(column) for column in table.columns]])
    for start in range(0, table.height, rows):
        block = table[start : start + rows]
        yield _lines([[cell(one) for cell, one in zip(cells, row, strict=True)] for row in block.iter_rows()])


def safe(text: str) -> str:
    """A text cell that a spreadsheet shows and does not run.

    >>> safe("=1+1"), safe("-2"), safe("'@x"), safe("a=b"), safe(";=1")
    ("'=1+1", "'-2", "''@x", 'a=b', ";'=1")
    """
    return ("'" if _FORMULA.match(text) else "") + _FORMULA_INSIDE.sub(r"\1'", text)


def _cell_of(dtype: pl.DataType) -> Callable[[object], str]:
    import numpy as np
    import polars as pl

    if dtype == pl.Float32:  # as short as tells one from the next
        return lambda value: "" if value is None else str(np.float32(value))  # type: ignore[arg-type]
    if dtype.is_numeric():
        return lambda value: "" if value is None else repr(value)
    return lambda value: "" if value is None else safe(str(value))


def _lines(rows: Sequence[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
