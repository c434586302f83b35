"""Which commands there are."""

from __future__ import annotations

import typer

from afterlaunch.cli.demo import command as demo
from afterlaunch.cli.drift import command as drift
from afterlaunch.cli.init import command as init
from afterlaunch.cli.launch import command as launch
from afterlaunch.cli.show import command as show


def register(app: typer.Typer) -> None:
    """Add every command."""
    app.command("demo")(demo)
    app.command("init")(init)
    app.command("launch")(launch)
    app.command("drift")(drift)
    app.command("show")(show)
