"""The `omni` command."""

from __future__ import annotations


def main() -> int:
    """Run the command line; returns the exit status."""
    print("no commands yet")
    return 2
