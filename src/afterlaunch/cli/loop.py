"""`afterlaunch loop`."""

from __future__ import annotations

from typing import Annotated

import typer

from afterlaunch.cli.options import (
    AlphaOption,
    ConfigOption,
    FailOn,
    FailOnOption,
    HtmlOption,
    JsonOption,
    MarginOption,
    RoleOption,
    leave,
    progress,
    require,
    settle,
)
from afterlaunch.questions.loop import loop


def command(
    log: Annotated[str | None, typer.Option("--log", help="Log with a row for each impression.")] = None,
    every: Annotated[
        str | None, typer.Option("--every", help="How often the model is trained again (default 1w).")
    ] = None,
    explored: Annotated[
        str | None, typer.Option("--explored", help="Column that says which impressions were filled by chance.")
    ] = None,
    born: Annotated[
        str | None, typer.Option("--born", help="Column with the time at which an item came into the catalogue.")
    ] = None,
    catalogue: Annotated[
        int | None, typer.Option("--catalogue", help="Items that could be shown; those ever shown when not given.")
    ] = None,
    share: Annotated[
        float, typer.Option("--share", help="Exploration share that the cost is estimated for (default 0.02).")
    ] = 0.02,
    role: RoleOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Is the model teaching itself: shown because clicked, clicked because shown?"""
    known, roles, margins = settle(config, role, margin, (json, html), log=log, alpha=alpha, every=every)
    with progress() as say:
        review = loop(
            require(known.log, "--log"),
            roles=roles,
            every=known.every or "1w",
            explored=explored,
            born=born,
            catalogue=catalogue,
            share=share,
            margins=margins,
            alpha=known.alpha,
            progress=say,
        )
    leave(review, json, html, fail_on)
