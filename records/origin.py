"""Where a run comes from: the command and the versions, as `run.json` has them."""

from __future__ import annotations

import platform
import shlex
import sys
from typing import Any

import torch
import transformers


def of_process() -> dict[str, Any]:
    """Return the command line of this process, and the versions that its figures hang on."""
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.platform(),
    }
    return {"command": shlex.join(["python", *sys.argv]), "versions": versions}
