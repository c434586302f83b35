"""Which commands there are; one is imported when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

NAMES = (
    "demo",
    "init",
    "launch",
    "drift",
    "off-policy",
    "interleaving",
    "experiment",
    "loop",
    "compare",
    "clusters",
    "release",
    "show",
)
"""Files of this folder that hold a function `command`, in the order of the help."""


class Commands(TyperGroup):
    """The commands of `NAMES`: a question starts without importing the others."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command's name, in the order of the help."""
        del ctx
        return list(NAMES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None when there is none."""
        del ctx
        if cmd_name not in NAMES:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        alone.command(cmd_name)(import_module(f"afterlaunch.cli.{cmd_name.replace('-', '_')}").command)
        return typer.main.get_command(alone)
