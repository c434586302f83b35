"""`afterlaunch drift`."""

from __future__ import annotations

from afterlaunch.cli import options
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
    known, roles, margins = options.settle(config, role, margin, reference=reference, production=production, alpha=alpha)
    with options.progress() as progress:
        review = drift(
            options.require(known.reference, "--reference"),
            options.require(known.production, "--production"),
            roles=roles,
            margins=margins,
            alpha=known.alpha,
            progress=progress,
        )
    options.leave(review, json, html, fail_on)
