"""`afterlaunch clusters`."""

from __future__ import annotations

from enum import StrEnum
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
from afterlaunch.questions.clusters import clusters


class By(StrEnum):
    """What two clusterings are compared by."""

    MEMBERS = "members"
    CENTROIDS = "centroids"
    BOTH = "both"


def command(
    previous: Annotated[
        str | None, typer.Option("--previous", help="Members and labels of last week: a path, glob or URL.")
    ] = None,
    current: Annotated[
        str | None,
        typer.Option("--current", help="Members and labels of this week; not given where --previous has both labels."),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", help="Column with the labels; two with a comma: before,now.")
    ] = "cluster",
    id: Annotated[str | None, typer.Option("--id", help="Column with the members' ids.")] = None,
    by: Annotated[
        By | None,
        typer.Option(
            "--by", help="Compare labels of the same members, or centroids; members where both weeks have them."
        ),
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", help="Columns that describe clusters and make centroids, with commas.")
    ] = None,
    reruns: Annotated[
        str | None, typer.Option("--reruns", help="Labels of cold reruns of both weeks: id, week, replicate, label.")
    ] = None,
    role: RoleOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Are this week's clusters those of last week, beyond what another run would change?"""
    known, roles, margins = settle(config, role, margin, (json, html), previous=previous, current=current, alpha=alpha)
    names = [c for c in label.split(",") if c]
    with progress() as say:
        review = clusters(
            require(known.previous, "--previous"),
            known.current,
            label=(names[0], names[1]) if len(names) == 2 else label,
            id=id,
            by=by.value if by is not None else None,
            features=[c for c in features.split(",") if c] if features is not None else None,
            reruns=reruns,
            roles=roles,
            margins=margins,
            alpha=known.alpha,
            progress=say,
        )
    leave(review, json, html, fail_on)
