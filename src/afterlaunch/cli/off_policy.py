"""`afterlaunch off-policy`."""

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
from afterlaunch.questions.off_policy import off_policy


def command(
    log: Annotated[str | None, typer.Option("--log", help="Decisions with their outcome and propensity.")] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Column with the new policy's probability of the logged action."),
    ] = None,
    target_policy: Annotated[
        str | None,
        typer.Option("--target-policy", help="In its place a table with an item, a position and a probability."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="none for no model of the reward, or two columns of yours with a comma: predicted,expected."
        ),
    ] = None,
    role: RoleOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Before an A/B: what would the new ranker have brought?"""
    known, roles, margins = settle(config, role, margin, (json, html), log=log, alpha=alpha)
    with progress() as say:
        review = off_policy(
            require(known.log, "--log"),
            target=target,
            target_policy=target_policy,
            roles=roles,
            model=_model(model),
            margins=margins,
            alpha=known.alpha,
            progress=say,
        )
    leave(review, json, html, fail_on)


def _model(given: str | None) -> bool | list[str] | None:
    """What the flag says: nothing, no model, or two columns."""
    if given is None:
        return None
    if given == "none":
        return False
    columns = [c for c in given.split(",") if c]
    if len(columns) != 2:
        raise InputError(f"The model is {given!r}; give none, or two columns such as predicted,expected.")
    return columns
