"""How many users a server keeps up with: doubles until it does not, then halves the gap."""

from __future__ import annotations

from collections.abc import Generator

_FINE = 16  # the answer is right to one user, or to one in so many


def search(begin: int, most: int) -> Generator[int, bool, int]:
    """Gives numbers of users to try, is sent whether the server kept up with them; returns the most that it did, at most `most`; 0: none."""
    good, users = 0, min(begin, most)
    while (yield users):
        good = users
        if users == most:
            return good
        users = min(2 * users, most)
    bad = users
    while bad - good > max(1, good // _FINE):
        middle = (good + bad) // 2
        if (yield middle):
            good = middle
        else:
            bad = middle
    return good
