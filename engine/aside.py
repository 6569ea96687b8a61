"""The run that another one replaces (`--anew`): it is kept until the new one is sure to begin.

It waits in a folder within its own.  The name of that folder says how far things are, so that
whoever is stopped on the way leaves what the next command can bring to an end.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

MOVING = "replaced-run.moving"  # it is moved in, or back: what is in there belongs outside
WAITING = "replaced-run"  # the new run may turn out to make no sense
GONE = "replaced-run.gone"  # the new run has begun: what is in there is to be removed
NAMES = (MOVING, WAITING, GONE)


def set_aside(out: Path, names: Sequence[str]) -> None:
    """Move these files and folders of a run's folder apart."""
    (out / MOVING).mkdir()
    for name in names:
        (out / name).rename(out / MOVING / name)
    (out / MOVING).rename(out / WAITING)


def bring_back(out: Path) -> bool:
    """Bring back what waits, or was on its way; return whether there was anything.

    What the new run has left must have been removed.
    """
    if (out / WAITING).exists():
        (out / WAITING).rename(out / MOVING)
    if not (out / MOVING).exists():
        return False
    _empty(out / MOVING, out)
    return True


def let_go(out: Path, remove: Callable[[Path], None]) -> None:
    """Remove what waits, by a function that leaves what strangers have put there: that stays."""
    if (out / WAITING).exists():
        (out / WAITING).rename(out / GONE)
    if (out / GONE).exists():
        remove(out / GONE)
        _empty(out / GONE, out)


def settle(out: Path, remove: Callable[[Path], None]) -> None:
    """Bring to its end what a command that was stopped has begun."""
    if (out / WAITING).exists():
        remove(out)  # what the new run has left
    bring_back(out)
    let_go(out, remove)


def _empty(folder: Path, out: Path) -> None:
    """Move what is left in a folder into another, and remove it."""
    for path in folder.iterdir():
        target = out / path.name
        if path.is_dir() and target.is_dir():
            _empty(path, target)
        else:
            path.rename(target)
    folder.rmdir()
