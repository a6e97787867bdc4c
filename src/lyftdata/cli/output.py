"""Prints results: tables on a terminal, plain columns when piped, JSON on request."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import click

from lyftdata.core.durations import largest_unit, nearest_unit
from lyftdata.core.text import clean_line, clean_lines, clean_text

_STYLES = {
    "online": "green",
    "live": "green",
    "ok": "green",
    "offline": "yellow",
    "expired": "yellow",
    "never_connected": "dim",
    "disabled": "red",
    "revoked": "red",
}

# The width of rich's column separator.
_GAP = 2
# As much as a field of a record has.
_MAX_CELL_LENGTH = 1024

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON with stable keys.")
url_option = click.option("--url", help="The Server; LYFTDATA_URL or http://localhost:3000 unless given.")


def print_json(value: Any) -> None:
    """Print one JSON value in ASCII: control characters must not reach a terminal, and programs read the same value."""
    click.echo(json.dumps(value, indent=2))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """
    Print a table, aligned; hostile text is cleaned.

    If the terminal is too narrow, empty columns are left out, then cells are wrapped between words, and if that is not enough each row
    becomes a record with one field on each line. Nothing is truncated: the next command needs the whole ID or name.
    """
    cleaned = [[clean_text(cell, _MAX_CELL_LENGTH) for cell in row] for row in rows]
    if not cleaned:
        echo_err(empty)
    elif sys.stdout.isatty():
        _print_rich(columns, cleaned)
    else:
        _print_plain(columns, cleaned)


def print_fields(pairs: Sequence[tuple[str, str]]) -> None:
    """Print names and values, one pair on each line."""
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        echo(f"{name.ljust(width)}  {clean_text(value, _MAX_CELL_LENGTH)}".rstrip())


output_option = click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the key to a new file (0600) instead of standard output.",
)


class KeyOutput:
    """
    The destination of a new key: standard output, with nothing else on it, or a new file of mode 0600.

    Args:
        file: The path of the file, or None for standard output.
        stream: The open file.
        kind: What messages call it, such as `token`.
    """

    def __init__(self, file: Path | None, stream: TextIO | None, *, kind: str = "key") -> None:
        self._file = file
        self._stream = stream
        self._kind = kind

    def show_or_save(self, key: str) -> None:
        """Print the key on standard output, or write it to the file; report which on standard error."""
        if self._stream is None:
            echo_err("It is shown once:")
            echo(key)
        else:
            self._write(self._stream, key)

    def for_json(self, key: str) -> str | None:
        """Return the key for the JSON output; None if it was written to the file instead."""
        if self._stream is None:
            return key
        self._write(self._stream, key)
        return None

    def _write(self, stream: TextIO, key: str) -> None:
        print(key, file=stream, flush=True)
        os.fsync(stream.fileno())
        echo_err(f"The {self._kind} is in {self._file}. It is not shown.")


def _why_not_created(error: OSError) -> str | None:
    if isinstance(error, FileExistsError):
        return "it exists, and no key is overwritten. Give another file, or move this one away first."
    return error.strerror


@contextlib.contextmanager
def key_output(file: Path | None, *, kind: str = "key") -> Iterator[KeyOutput]:
    """
    Open the destination of a new key.

    The file is created before the key: if it cannot be written, no key is lost.

    Raises:
        click.FileError: It already exists, or cannot be created.
    """
    if file is None:
        yield KeyOutput(None, None, kind=kind)
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.FileError(str(file), _why_not_created(error)) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        try:
            yield KeyOutput(file, stream, kind=kind)
        except BaseException:
            # Once the key is written, the file holds the only copy, whatever fails later.
            if os.fstat(descriptor).st_size == 0:
                file.unlink()
            raise


def echo(line: str) -> None:
    """
    Print one line of the result on standard output.

    It may contain text from a Server, and so a name that someone gave to a Worker: control characters and line breaks are removed, so
    that it can neither control the terminal nor begin a new line.
    """
    click.echo(clean_line(line))


def echo_lines(text: str) -> None:
    """Print several lines, each cleaned."""
    click.echo(clean_lines(text))


def print_exactly(line: str) -> None:
    """Print a line unchanged for a program or a file, but cleaned for a terminal."""
    click.echo(clean_line(line) if sys.stdout.isatty() else line)


def echo_err(line: str) -> None:
    """
    Print one line on standard error, without control characters: standard output is for the result.

    A failing write to standard error must not fail a command that has done its work.
    """
    with contextlib.suppress(OSError):
        click.echo(clean_line(line), err=True)


def when(text: str | None) -> str:
    """Return a time for display: relative on a terminal, ISO 8601 when piped."""
    if text is None:
        return "-"
    if not sys.stdout.isatty():
        return text
    return relative(datetime.fromisoformat(text), now=datetime.now(UTC))


def relative(time: datetime, *, now: datetime) -> str:
    """Return how far a time is from now, in its largest unit."""
    seconds = (now - time).total_seconds()
    ahead, seconds = seconds < 0, abs(seconds)
    number, unit = nearest_unit(seconds) if ahead else largest_unit(seconds)
    amount = f"{number}{unit}"
    return f"in {amount}" if ahead else f"{amount} ago"


def _print_rich(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    cells = [[column.upper(), *cells] for column, *cells in zip(columns, *rows, strict=True)]
    if _excess(cells, console.width) > 0:
        cells = [column for column in cells if any(cell not in {"", "-"} for cell in column[1:])]
    widths = _fit(cells, console.width)
    if widths is None:
        _print_records(cells)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, width in zip(cells, widths, strict=True):
        table.add_column(column[0], width=width, overflow="fold")
    for row in zip(*(column[1:] for column in cells), strict=True):
        # Text, not markup: a Worker named "[red]" is a name and not a colour.
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(table)


def _excess(columns: Sequence[Sequence[str]], available: int) -> int:
    """Return by how many characters the columns together are too wide."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, cells)) for cells in columns]
    return sum(widths) + _GAP * (len(widths) - 1) - available


def _fit(columns: Sequence[Sequence[str]], available: int) -> list[int] | None:
    """Return the widths of the columns so that no word is broken; None if they do not fit."""
    from rich.cells import cell_len

    widths = [max(map(cell_len, cells)) for cells in columns]
    words = [max((cell_len(word) for cell in cells for word in cell.split()), default=0) for cells in columns]
    excess = _excess(columns, available)
    # The column that can shrink most shrinks first.
    for index in sorted(range(len(widths)), key=lambda i: words[i] - widths[i]):
        given = max(0, min(excess, widths[index] - words[index]))
        widths[index] -= given
        excess -= given
    return widths if excess <= 0 else None


def _print_records(columns: Sequence[Sequence[str]]) -> None:
    headers, *rows = zip(*columns, strict=True)
    for number, row in enumerate(rows):
        if number:
            echo("")
        print_fields(list(zip(headers, row, strict=True)))


def _print_plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    every = [[column.upper() for column in columns], *rows]
    widths = [max(len(row[index]) for row in every) for index in range(len(columns))]
    for row in every:
        echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def emit(value: Any, *, as_json: bool, show: Callable[[Any], None]) -> None:
    """Print a value as JSON, or by `show`."""
    if as_json:
        print_json(value)
    else:
        show(value)
