"""The sources that a run is made by: which they are, and whether they are still the same."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.folder import digest

ROOT = Path(__file__).resolve().parent.parent
METHOD = ("envs.py", "agent_r.py", "mcts.py", "critique.py", "train.py")
ROOMS = ("engine", "general", "records", "settings")  # and of worlds/ what is played
PACKAGES = ("torch", "transformers", "numpy")


def digests(worlds: Sequence[str], data: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of every file that decides what a run with these worlds leaves.

    They are the five modules, the rooms beneath them, each world's own module with what it takes
    from beside it, and the files and folders of `data` that the command names.
    """
    paths = [ROOT / name for name in METHOD]
    for room in ROOMS:
        paths += sorted((ROOT / room).glob("*.py"))
    for world in worlds:
        module = world.partition(":")[0]
        path = ROOT / "worlds" / f"{module}.py"
        paths += with_imports(path if is_file(path) else own_module(module))
    for name in data:
        path = Path(name)
        # Of a folder, which is one of recipes, what is read of it; it may be anything, as `/`.
        paths += [path] if is_file(path) else sorted(path.glob("*.json"))
    found = {}
    for path in paths:
        if is_file(path):
            name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            found[str(name)] = digest(path)
    return found


def is_file(path: Path) -> bool:
    """Whether a path is a file; what is wrong with a name that no file can have is said later."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def own_module(module: str) -> Path:
    """Return the file of anybody's own module; where there is none, one that does not exist."""
    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # a stranger's package; what is wrong is said when the world is made
        spec = None
    return Path(spec.origin) if spec and spec.origin else ROOT / "no such module"


def with_imports(path: Path) -> list[Path]:
    """Return a module's file, and those of modules of worlds/ that it imports, and so on."""
    paths: list[Path] = []
    ahead = [path]
    while ahead:
        path = ahead.pop()
        if path in paths or not is_file(path):
            continue
        paths.append(path)
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError):  # is told when the world is made
            continue
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.ImportFrom):
                module = node.module or ""
                names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith("worlds."):
                    ahead.append(ROOT / (name.replace(".", "/") + ".py"))
    return paths


def changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return the names of files that were changed, added or removed since."""
    names = sorted(before.keys() | now.keys())
    return [name for name in names if before.get(name) != now.get(name)]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that decide about a run's numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found
