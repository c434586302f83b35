"""Which commands there are."""

from __future__ import annotations

import typer

from afterlaunch.cli import demo, drift, init, launch, show


def register(app: typer.Typer) -> None:
    """Add every command."""
    app.command("demo")(demo.command)
    app.command("init")(init.command)
    app.command("launch")(launch.command)
    app.command("drift")(drift.command)
    app.command("show")(show.command)
