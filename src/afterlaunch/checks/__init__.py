"""The registry of checks: adding one is a file of its own and one line here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from afterlaunch.checks.evidence import Check, Evidence, Sample

__all__ = ["CHECKS", "Check", "Evidence", "Sample"]

NAMES = (
    "metric",
    "availability",
    "leakage",
    "skew",
    "position",
    "rescore",
    "gap",
    "drift",
)
"""Files of this folder that hold a `CHECK` of that name."""


class _Registry(Mapping[str, Check]):
    """Imports a check when it is first asked for: a question pays for the maths of its own checks only."""

    def __getitem__(self, name: str) -> Check:
        if name not in NAMES:
            raise KeyError(name)
        check: Check = import_module(f"afterlaunch.checks.{name}").CHECK
        return check

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


CHECKS: Mapping[str, Check] = _Registry()
"""Every check by name."""
