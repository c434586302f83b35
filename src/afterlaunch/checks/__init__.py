"""The registry of checks: adding one is a file of its own and one line here."""

from afterlaunch.checks.evidence import Check, Evidence, Sample

__all__ = ["CHECKS", "Check", "Evidence", "Sample"]

CHECKS: dict[str, Check] = {}
"""Every check by name."""
