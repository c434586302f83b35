"""`afterlaunch drift`."""

from __future__ import annotations

from afterlaunch.cli.options import (
    AlphaOption,
    ConfigOption,
    FailOn,
    FailOnOption,
    HtmlOption,
    JsonOption,
    MarginOption,
    ProductionOption,
    ReferenceOption,
    RoleOption,
    leave,
    progress,
    require,
    settle,
)
from afterlaunch.questions.drift import drift


def command(
    reference: ReferenceOption = None,
    production: ProductionOption = None,
    role: RoleOption = None,
    margin: MarginOption = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Have the columns changed since the reference?"""
    known, roles, margins = settle(
        config, role, margin, (json, html), reference=reference, production=production, alpha=alpha
    )
    with progress() as say:
        review = drift(
            require(known.reference, "--reference"),
            require(known.production, "--production"),
            roles=roles,
            margins=margins,
            alpha=known.alpha,
            progress=say,
        )
    leave(review, json, html, fail_on)
