"""The one error that users are meant to read: what was expected, what came, what to do."""

from __future__ import annotations

import re


class RereError(Exception):
    """A problem the user can mend.

    Args:
        expected: what the program needed.
        got: what it found instead.
        remedy: what to do about it.
    """

    def __init__(self, expected: str, got: str, remedy: str) -> None:
        super().__init__(f"Expected {expected}; got {got}. Fix: {remedy}")
        self.parts = (expected, got, remedy)  # a worker process hands them to its parent

    def __reduce__(self) -> tuple[type[RereError], tuple[str, str, str]]:
        """Between processes it travels as its parts: the message alone makes none."""
        return type(self), self.parts


def without_passwords(text: str) -> str:
    """Text as it may be shown: an address of a registry or a database may hold a name and password."""
    return re.sub(r"(\w://)[^/?#\s]*@", r"\1***@", text)
