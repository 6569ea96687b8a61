"""Work that is cut into pieces, each of which is kept as soon as it is made.

What a stage makes (trees, episodes, verdicts) is a list of results, and each follows from its item
alone: it does not matter who makes it, when, or beside which others.  So a stage is a file that
grows, `NAME.part`, a line for each result in their order; a stage that was stopped reads what is
there and makes the rest.  Once it is whole the file gets its name, and the same stage does nothing
but read it.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine import processes
from engine.folder import naming, part_of, put_in_place, spend, witness

STATE = "random"  # the field of a generator's state, behind the results that it has led to
PAUSE = 1.0  # seconds between two writings, so that small pieces do not wait for the disk


class StageFile:
    """The results of a stage in their file: what is there already, then what is added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.part = part_of(path)
        self.whole = path.exists()
        self.lines = self._read()
        self._cut()
        self.taken = 0
        self.waiting: list[Any] = []
        self.written = time.monotonic()
        self.file = None if self.whole else self.part.open("ab")

    def _read(self) -> list[bytes]:
        """Return the whole lines; what a stop has torn off is cut away."""
        place = self.path if self.whole else self.part
        lines = place.read_bytes().split(b"\n")[:-1] if place.exists() else []
        if not self.whole and place.exists():
            while lines and not is_json(lines[-1]):
                lines.pop()
        return lines

    def _cut(self) -> None:
        """Cut the file off behind the lines that are good."""
        if not self.whole and self.part.exists():
            os.truncate(self.part, sum(len(line) + 1 for line in self.lines))

    def take(self, count: int, size: int, rng: random.Random | None = None) -> list[Any]:
        """Return what is there of the next `count` results; `rng` goes on from where it was then.

        A piece that is not whole, and what stands behind the newest state of `rng`, is dropped and
        made once more: sums depend on which rows share a batch, so pieces are cut where they were.
        """
        lines = self.lines[self.taken : self.taken + count]
        records = [json.loads(line) for line in lines]
        if len(records) < count:
            del records[len(records) - len(records) % size :]
        while rng and records and STATE not in records[-1]:
            records.pop()
        if len(records) < len(lines):
            del self.lines[self.taken + len(records) :]
            self._cut()
        if rng and records:
            version, numbers, gauss = records[-1][STATE]
            rng.setstate((version, tuple(numbers), gauss))
        self.taken += len(records)
        return records

    def add(self, records: Sequence[Any], rng: random.Random | None = None) -> None:
        """Keep the next results; they are on the disk within a second's work, or at `flush`."""
        self.waiting += records
        if time.monotonic() - self.written > PAUSE:
            self.flush(rng)

    def flush(self, rng: random.Random | None = None) -> None:
        """Bring all that was added to the disk, with the state of `rng` behind it."""
        if self.waiting:
            if rng:
                self.waiting[-1] = {**self.waiting[-1], STATE: rng.getstate()}
            text = "".join(json.dumps(record) + "\n" for record in self.waiting)
            with naming(self.part):
                self.file.write(text.encode())
                self.file.flush()
                os.fsync(self.file.fileno())
            self.waiting = []
            spend()
        self.written = time.monotonic()

    def finish(self, lasting: bool) -> None:
        """Give the file its name, or remove one that nobody needs when the stage is over."""
        if self.whole:
            return
        self.flush()
        self.file.close()
        if lasting:
            witness(self.path)
            put_in_place(self.path)
        else:
            self.part.unlink()

    def close(self) -> None:
        """Let go of the file, as it is."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # what a full disk did not take stays in its buffer
                self.file.close()


def is_json(line: bytes) -> bool:
    """Whether a line can be read: behind a power cut there may be zeros in it."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


_open: list[StageFile] = []


@contextlib.contextmanager
def kept_in(path: Path, lasting: bool = True) -> Iterator[None]:
    """While this lasts, the results of `in_pieces` are kept in a file, or read from it.

    A file that is not `lasting` is there only until the stage is over, which is when this ends: by
    then its outcome must stand in other files.  Of several processes the first keeps them.
    """
    if not processes.is_first():
        yield
        return
    kept = StageFile(path)
    _open.append(kept)
    try:
        yield
        kept.finish(lasting)
    finally:
        _open.remove(kept)
        kept.close()


def in_pieces(
    make: Callable[[Sequence[Any]], list[Any]],
    items: Sequence[Any],
    size: int,
    *,
    write: Callable[[Any], Any] = lambda result: result,
    read: Callable[[Any], Any] = lambda record: record,
    label: str = "",
    rng: random.Random | None = None,
) -> list[Any]:
    """Return what `make` makes of items, in order, `size` of them at a time.

    `write` turns a result into what JSON can hold, and `read` back.  With a label, a bar is shown.
    If `make` draws from one generator all along, that is `rng`, and results are JSON objects.
    Several processes make `size` each at a time; what one generator draws, the first makes alone.
    """
    if rng and not processes.is_first():
        results, state = processes.from_first(None)
        rng.setstate(state)
        return results
    several = processes.count() > 1 and not rng
    if several:
        size *= processes.count()
    kept = _open[-1] if _open else None
    records = kept.take(len(items), size, rng) if kept else []
    if several:
        records = processes.from_first(records)
    results = [read(record) for record in records]
    pieces = range(len(results), len(items), size)
    for first in tqdm(pieces, desc=label, leave=False, disable=None if label else True):
        some = items[first : first + size]
        if several:
            records = processes.shared_out(make, some, write)
            results += map(read, records)
        else:
            made = make(some)
            results += made
            records = [write(result) for result in made] if kept else []
        if kept:
            kept.add(records, rng)
    if kept:
        kept.flush(rng)
    if rng:
        processes.from_first((results, rng.getstate()))
    return results


def for_first(items: Iterable[Any]) -> Iterable[Any]:
    """Return items on the first process, and none on the others.

    It is for work that is not shared out; what comes of it, the others hear (`from_first`).
    """
    return items if processes.is_first() else ()
