"""What several commands show: tables on a terminal, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Shown

if TYPE_CHECKING:
    from omni_core.evaluation.results import Table


def print_table(console: Console, table: Table) -> None:
    """Of a report; nothing where it has no rows."""
    numbers = [unit is not None for unit in table.units] or [False] * len(table.columns)
    print_rows(console, table.title, table.columns, numbers, [[escape(cell) for cell in row] for row in table.written()])


def print_rows(console: Console, title: str, columns: Sequence[str], numbers: Sequence[bool], rows: Sequence[Sequence[str]]) -> None:
    """Rows of rich's markup; nothing where there are none."""
    if not rows:
        return
    shown = Shown(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for column, number in zip(columns, numbers, strict=True):
        shown.add_column(column, justify="right" if number else "left", max_width=46)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)


def processor() -> str:
    """This machine's, as people know it."""
    try:
        names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    except OSError:
        names = []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{names[0] if names else platform.processor() or platform.machine()}, {'1 core' if cores == 1 else f'{cores} cores'}"


def gpus() -> list[str]:
    """Names of those that nvidia-smi knows."""
    try:
        asked = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in asked.stdout.splitlines() if line.strip()]
