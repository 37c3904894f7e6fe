"""Packages of npm's registry for the tests that need some, installed once for each package-lock.json."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

_NODE, _NPM = (shutil.which(program) is not None for program in ("node", "npm"))
NODE = pytest.mark.skipif(not _NODE, reason="node is not installed: apt install nodejs")
NPM = [pytest.mark.npm, pytest.mark.skipif(not (_NODE and _NPM), reason="node and npm are not installed: apt install nodejs npm")]
_OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT")


def installed(source: Path) -> Path:
    """A folder with the files of `source` and the packages of its package-lock.json. Skips the test where they are out of reach."""
    lock = hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()[:12]
    folder = Path("~/.cache/omni-duplex").expanduser() / f"npm-{lock}"
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        shutil.copy(file, folder)
    if not (folder / "node_modules" / ".package-lock.json").exists():
        install = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, capture_output=True, text=True, timeout=300)
        if any(code in install.stderr for code in _OFFLINE):
            pytest.skip("the npm registry can't be reached, and the packages were never installed here")
        assert install.returncode == 0, install.stderr
    return folder
