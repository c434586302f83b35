"""`afterlaunch drift`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
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
    OutcomesOption,
    ProductionOption,
    ReferenceOption,
    RoleOption,
    leave,
    progress,
    require,
    settle,
)
from afterlaunch.questions.drift import drift


class Domain(StrEnum):
    """When to train a domain classifier."""

    SCREEN = "screen"
    ALWAYS = "always"
    NEVER = "never"


def command(
    reference: ReferenceOption = None,
    production: ProductionOption = None,
    outcomes: OutcomesOption = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Length of a window, such as 1d, 6h, 1w or '5000 rows'.")
    ] = None,
    alarm_budget: Annotated[
        str | None,
        typer.Option("--alarm-budget", help="With --every: most false episodes to expect (default 1/month)."),
    ] = None,
    domain: Annotated[
        Domain | None,
        typer.Option("--domain", help="Whether to train a classifier that sees changes of many columns together."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="With --every: folder that keeps what was counted of each file."),
    ] = None,
    role: RoleOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = None,
    task: Annotated[
        str | None, typer.Option("--task", help="binary, multiclass, regression or ranking; guessed when left out.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Score from which a prediction is positive (default 0.5).")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Have the columns, the queries or the model's performance changed since the reference?"""
    known, roles, margins = settle(
        config,
        role,
        margin,
        (json, html),
        reference=reference,
        production=production,
        outcomes=outcomes,
        every=every,
        alarm_budget=alarm_budget,
        alpha=alpha,
        task=task,
        threshold=threshold,
    )
    with progress() as say:
        review = drift(
            require(known.reference, "--reference"),
            require(known.production, "--production"),
            every=known.every,
            alarm_budget=known.alarm_budget,
            outcomes=known.outcomes,
            roles=roles,
            margins=margins,
            alpha=known.alpha,
            task=known.task,
            threshold=known.threshold,
            domain=domain.value if domain is not None else None,
            cache=cache,
            progress=say,
        )
    leave(review, json, html, fail_on)
