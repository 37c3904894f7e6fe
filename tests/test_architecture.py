"""Who may import whom, what a wheel holds, and what must not be in the repository."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("omni_core", "server", "clients", "deploy")


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_the_import_contracts_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "0 broken" in run.stdout


def test_every_folder_of_modules_is_a_package() -> None:
    """setuptools finds packages by their `__init__.py`: a folder without one is left out of the wheel."""
    bare = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [str(folder.relative_to(ROOT)) for folder in sorted(bare) if not (folder / "__init__.py").is_file()] == []


def test_no_path_of_one_machine_is_in_the_repository() -> None:
    elsewhere = re.compile(rb"/(?:work|root|Users)/\w|/home/(?!\w*\.)\w+/|/pypi/simple|find-links")
    guilty = [str(path.relative_to(ROOT)) for path in _tracked() if path != Path(__file__) and elsewhere.search(path.read_bytes())]
    assert guilty == []


@pytest.mark.parametrize("name", ["omni_core/assets/nano", "clients/questions"])
def test_what_ships_stays_small(name: str) -> None:
    size = sum(path.stat().st_size for path in _tracked(name))
    assert 0 < size < 40e6


def test_tracked_files_fit_a_clone() -> None:
    assert [str(path.relative_to(ROOT)) for path in _tracked() if path.stat().st_size > 40e6] == []


def test_torch_is_pinned_and_the_pin_satisfies_the_package() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bound = next(d for d in project["dependencies"] if d.startswith("torch"))
    assert [int(n) for n in pins["torch"].split(".")[:2]] >= [int(n) for n in bound.partition(">=")[2].split(".")[:2]]
