"""The folder of a run: every file of it is written whole or not at all, and one run works in it.

A file is written beside its place, under its name with `.part` behind it, brought to the disk and
only then given its name, so that neither a stop nor a power cut leaves half of one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from engine import UserError, processes

LOCK = "run.lock"
PART = ".part"
DIGESTS = "digests.json"
REMEDY = "put it back as it was, begin anew with --anew, or name another --out"


def check_free(folder: Path) -> None:
    """Raise `UserError` if something stands at `folder` already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problem = "something stands there already; name a new folder, or remove it"
        raise UserError(f"--out {folder}: {problem}")


# --- files that are whole


def part_of(path: Path) -> Path:
    """Return the place at which a file stands until it is whole."""
    return path.with_name(path.name + PART)


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write records as JSON, one a line; the file appears when it is whole.

    Of several processes the first one writes.
    """
    if not processes.is_first():
        return
    with writing(path) as part:
        with part.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record) + "\n")
        witness(path)


def read_lines(path: Path) -> list[Any]:
    """Return the records of a file; raises `UserError` for one that nobody here has written."""
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.split("\n") if line]
    except ValueError:
        raise UserError(f"{path}: is not as the run left it; {REMEDY}") from None


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield the place beside a file to write to; it takes the file's place once that is done."""
    part = part_of(path)
    with naming(path):
        yield part
        sync(part)
        put_in_place(path)
    spend()


def put_in_place(path: Path) -> None:
    """Give a file that is whole, and on the disk, its name."""
    part_of(path).replace(path)
    sync(path.parent)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """While this lasts, an `OSError` that names no file, as of a full disk, names this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def sync(path: Path) -> None:
    """Bring a file or a folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- one run at a time


class Claim:
    """A folder in which this process alone works, as long as it lives or until `release`.

    The lock is the system's and dies with its process, however that ends.  Its file holds the
    process and the seconds that the run has taken so far, over all its sittings.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder if there is none; raises `UserError` if another run works in it."""
        self.folder = folder
        self.began: float | None = None  # when the clock was started
        self.earlier = 0.0  # seconds of the sittings before
        self.made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.handle = self._lock()
        seconds = self._read().get("seconds")
        # What somebody has written there instead is worth nothing, and costs nothing but the time.
        self.earlier = float(seconds) if isinstance(seconds, int | float) else 0.0

    def _lock(self) -> int:
        path = self.folder / LOCK
        while True:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(handle)
                if not isinstance(error, BlockingIOError):
                    error.filename = str(path)
                    raise
                remedy = "wait until it has ended, or name another folder"
                problem = "another run is at work there"
                raise UserError(f"--out {self.folder}: {problem}; {remedy}") from None
            # Who held it before may have removed it in the meantime.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), path.stat()):
                    return handle
            os.close(handle)

    def _read(self) -> dict[str, Any]:
        with contextlib.suppress(ValueError):
            content = json.loads(os.pread(self.handle, 1000, 0))
            if isinstance(content, dict):
                return content
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process may know of it: everything but the lock."""
        return {**vars(self), "handle": -1}

    def start_clock(self) -> None:
        """Count the seconds of this sitting from now on."""
        self.began = time.perf_counter()

    def stop_clock(self, seconds: float) -> None:
        """Count this sitting as if it had not been, behind so many seconds of those before."""
        self.began = None
        self.earlier = seconds
        self.note()

    def seconds(self) -> float:
        """Return the seconds of all sittings."""
        here = 0.0 if self.began is None else time.perf_counter() - self.began
        return self.earlier + here

    def note(self) -> None:
        """Leave the seconds so far; a sitting that is killed counts up to here."""
        if self.handle < 0:  # the first process has it
            return
        content = json.dumps({"process": os.getpid(), "seconds": round(self.seconds(), 1)})
        with naming(self.folder / LOCK):
            os.pwrite(self.handle, f"{content:<80}\n".encode(), 0)

    def release(self, remove: bool = False) -> None:
        """Let others in; with `remove` as if nobody had been there, unless something lies there."""
        if self.handle < 0:
            return
        if remove:
            (self.folder / LOCK).unlink(missing_ok=True)
        os.close(self.handle)
        self.handle = -1
        if remove:
            for path in self.made:
                with contextlib.suppress(OSError):  # something lies in it
                    path.rmdir()


_claims: list[Claim] = []  # of the run that is being carried out


@contextlib.contextmanager
def at_work(claim: Claim) -> Iterator[None]:
    """While this lasts, whatever is written notes the time in this claim."""
    _claims.append(claim)
    try:
        yield
    finally:
        _claims.remove(claim)


# --- what was written, so that what was changed since is noticed


def witness(path: Path) -> None:
    """Note the digest of what is about to get this name, beside that of what has it now.

    Whoever is stopped before or behind the change of names finds one of the two there, and of a
    new file that has no name yet what stands beside its place, which is brought to the disk first.
    """
    for claim in _claims:
        if claim.handle >= 0 and path.is_relative_to(claim.folder):
            sync(part_of(path))
            sync(path.parent)
            known = witnessed(claim.folder)
            name = path.relative_to(claim.folder).as_posix()
            known[name] = [digest(part_of(path)), *known.get(name, [])[:1]]
            with writing(claim.folder / DIGESTS) as part:
                part.write_text(json.dumps(known) + "\n", encoding="utf-8")


def witnessed(folder: Path) -> dict[str, list[str]]:
    """Return the digests of the files of a run's folder, by their names in it."""
    book = folder / DIGESTS
    if not book.exists():  # of a run that was branched off, say
        return {}
    records = read_lines(book)
    lists = [*records[0].values()] if records and isinstance(records[0], dict) else [None]
    if not all(isinstance(digests, list) for digests in lists):
        raise UserError(f"{book}: is not as the run left it; {REMEDY}")
    return records[0]


def check_witnessed(folder: Path, but: Sequence[str]) -> None:
    """Raise `UserError` for the first file that is gone, or not as the run left it.

    Those named in `but` are checked otherwise, and one that was about to get its name when the run
    was stopped is not missed.
    """
    for name, digests in witnessed(folder).items():
        path = folder / name
        if name in but or is_unfinished(path):
            continue
        if not path.is_file():
            raise UserError(f"{path}: is not there any more; {REMEDY}")
        if digest(path) not in digests:
            raise UserError(f"{path}: is not as the run left it; {REMEDY}")


def is_unfinished(path: Path) -> bool:
    """Whether a file has not got its name yet, and stands beside its place."""
    return not path.exists() and part_of(path).exists()


def forget_unfinished(folder: Path) -> None:
    """Take files that have not got their names out of the digests, before they are swept away."""
    known = witnessed(folder)
    finished = {name: known[name] for name in known if not is_unfinished(folder / name)}
    if finished != known:
        with writing(folder / DIGESTS) as part:
            part.write_text(json.dumps(finished) + "\n", encoding="utf-8")


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def spend() -> None:
    """Note the time of the run that is being carried out, if there is one."""
    for claim in _claims:
        claim.note()
