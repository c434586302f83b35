"""`afterlaunch compare`."""

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
from afterlaunch.questions.compare import compare


def command(
    panel: Annotated[
        str | None, typer.Option("--panel", help="Rows, users or queries with what each version put out.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", help="The version that was; of a wide table a column, or columns with commas."),
    ] = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="The version that shall be, named in the same way.")
    ] = None,
    replicates: Annotated[
        str | None, typer.Option("--replicates", help="Column that tells repetitions of the same training apart.")
    ] = None,
    history: Annotated[
        str | None, typer.Option("--history", help="Table of what users chose before, for their categories.")
    ] = None,
    role: RoleOption = None,
    margin: MarginOption = None,
    task: Annotated[
        str | None, typer.Option("--task", help="binary, multiclass or regression; guessed when not given.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Score from which a row counts as predicted positive.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="Length of the lists that are compared (default 10).")] = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Does this week's model say the same as last week's, beyond what another seed would change?"""
    known, roles, margins = settle(
        config, role, margin, (json, html), panel=panel, alpha=alpha, task=task, threshold=threshold, k=k
    )
    with progress() as say:
        review = compare(
            require(known.panel, "--panel"),
            baseline=_version(baseline, "--baseline", roles.version),
            candidate=_version(candidate, "--candidate", roles.version),
            replicates=replicates,
            history=history,
            roles=roles,
            margins=margins,
            alpha=known.alpha,
            task=known.task,
            threshold=known.threshold,
            k=10 if known.k is None else known.k,
            progress=say,
        )
    leave(review, json, html, fail_on)


def _version(given: str | None, flag: str, column: str | None) -> str | list[str]:
    """A version, or the columns of a wide table."""
    if not given:
        raise InputError(f"No version was given for {flag}; add {flag} and the name of one.")
    return given if column is not None or "," not in given else [c for c in given.split(",") if c]
