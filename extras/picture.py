"""A picture of a run's page, as the README has one.

    python -m extras.picture RUN [--place revision/1/5] [--out FILE] [--width 1280] [--height 900]

It needs a browser and what drives it: `pip install playwright`, and a Chromium, which is found by
its name or by the environment variable CHROMIUM.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from engine import UserError, command_line
from extras import view

PROGRAM = "python -m extras.picture"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def browser_path() -> str | None:
    """Return the path of a Chromium, None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def picture(run: Path, place: str, out: Path, size: tuple[int, int]) -> None:
    """Write a picture of one panel of a run's page; raises `UserError`."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise UserError("this needs playwright: pip install playwright") from None
    path = browser_path()
    if path is None:
        remedy = "install one, such as chromium-headless-shell, or name it with CHROMIUM"
        raise UserError(f"there is no Chromium; {remedy}")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_path = view.write_page(run, Path(folder) / "view.html")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        width, height = size
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(f"{page_path.as_uri()}#{place}")
        page.wait_for_selector(".paper")
        page.screenshot(path=str(out))
        browser.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command line; return the exit status."""
    parser = argparse.ArgumentParser(PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", type=Path, help="the folder of a run")
    parser.add_argument("--place", default="overview", help="the panel's address, without its #")
    parser.add_argument("--out", metavar="FILE", type=Path, default=Path("page.png"))
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    given = parser.parse_args(arguments)
    size = (given.width, given.height)
    return command_line.carry_out(PROGRAM, lambda: picture(given.run, given.place, given.out, size))


if __name__ == "__main__":
    sys.exit(main())
