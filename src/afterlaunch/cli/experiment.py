"""`afterlaunch experiment`, and `afterlaunch experiment plan`."""

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
from afterlaunch.questions.experiment import experiment
from afterlaunch.questions.plan import plan


def command(
    what: Annotated[
        str | None,
        typer.Argument(metavar="plan", help="'plan' sizes an experiment that has not begun, from recent traffic."),
    ] = None,
    log: Annotated[str | None, typer.Option("--log", help="Log of the experiment, or recent traffic to plan.")] = None,
    control: Annotated[str | None, typer.Option("--control", help="The arm of the old rules.")] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="What shall be better: mean:clicked, share:bought, ratio:revenue/orders, …"),
    ] = None,
    guardrail: Annotated[
        list[str] | None,
        typer.Option("--guardrail", help="What must not be worse: quantile:latency_ms:0.99,better=down, …"),
    ] = None,
    share: Annotated[
        list[str] | None,
        typer.Option("--share", help="Planned share of units, ARM=SHARE; to plan: that of the new arm."),
    ] = None,
    window: Annotated[str | None, typer.Option("--window", help="How long each unit is observed, such as 7d.")] = None,
    looks: Annotated[
        str | None, typer.Option("--looks", help="any, once, or the dates of the planned looks with commas.")
    ] = None,
    planned: Annotated[
        int | None, typer.Option("--planned", help="Units for which intervals of any number of looks are narrowest.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Planned end of an experiment with one look.")] = None,
    pre: Annotated[
        str | None, typer.Option("--pre", help="Table of the time before, whose variance is taken out (CUPED).")
    ] = None,
    days: Annotated[int, typer.Option("--days", help="To plan: how long it shall run.")] = 14,
    power: Annotated[float, typer.Option("--power", help="To plan: chance to see the change that matters.")] = 0.8,
    role: RoleOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Does the new model beat the old rules, on every metric that matters?"""
    known, roles, margins = settle(config, role, margin, (json, html), log=log, alpha=alpha)
    table = require(known.log, "--log")
    if what is not None and what != "plan":
        raise InputError(f"There is no {what!r} of an experiment; write 'plan', or nothing.")
    if not metric:
        raise InputError("No metric was given; add --metric mean:COLUMN, or another kind.")
    with progress() as say:
        if what == "plan":
            review = plan(
                table,
                metrics=[*metric, *(guardrail or [])],
                roles=roles,
                share=_one_share(share),
                days=days,
                power=power,
                looks=looks or "any",
                window=window,
                pre=pre,
                margins=margins,
                alpha=known.alpha,
                progress=say,
            )
        else:
            if not control:
                raise InputError("No control was given; add --control and the name of the old arm.")
            review = experiment(
                table,
                control=control,
                metrics=metric,
                guardrails=guardrail or [],
                roles=roles,
                shares=_shares(share),
                window=window,
                looks=looks.split(",") if looks is not None and looks not in ("any", "once") else looks,
                planned=planned,
                until=until,
                pre=pre,
                margins=margins,
                alpha=known.alpha,
                progress=say,
            )
    leave(review, json, html, fail_on)


def _shares(words: list[str] | None) -> dict[str, float] | None:
    out: dict[str, float] = {}
    for word in words or []:
        arm, equals, value = word.rpartition("=")
        if not equals or not arm:
            raise InputError(f"The share {word!r} is not of the form ARM=SHARE, such as rules=0.5.")
        out[arm] = _number(value, word)
    return out or None


def _one_share(words: list[str] | None) -> float:
    if words is not None and len(words) > 1:
        raise InputError("To plan, one --share is enough: that of the new arm, such as 0.5.")
    return _number(words[0].rpartition("=")[2], words[0]) if words else 0.5


def _number(value: str, word: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InputError(f"The share {word!r} holds no number; write one such as 0.5.") from None
