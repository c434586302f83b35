"""`afterlaunch interleaving`."""

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
from afterlaunch.decide import InputError
from afterlaunch.questions.interleaving import interleaving


def command(
    log: Annotated[str | None, typer.Option("--log", help="A row for each place of each drafted list.")] = None,
    first: Annotated[str | None, typer.Option("--first", help="The old ranker, as the column of teams has it.")] = None,
    second: Annotated[str | None, typer.Option("--second", help="The new ranker.")] = None,
    team: Annotated[
        str, typer.Option("--team", help="Column that says which ranker picked the item (default team).")
    ] = "team",
    role: RoleOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Which of two rankers do users prefer, when every list they see is drafted from both?"""
    known, roles, margins = settle(config, role, margin, (json, html), log=log, alpha=alpha)
    for flag, name in (("--first", first), ("--second", second)):
        if not name:
            raise InputError(f"No ranker was given for {flag}; add {flag} and the name of one.")
    with progress() as say:
        review = interleaving(
            require(known.log, "--log"),
            first=first,
            second=second,
            roles=roles,
            team=team,
            margins=margins,
            alpha=known.alpha,
            progress=say,
        )
    leave(review, json, html, fail_on)
