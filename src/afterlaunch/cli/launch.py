"""`afterlaunch launch`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

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
from afterlaunch.decide import InputError
from afterlaunch.questions.launch import launch


def command(
    reference: ReferenceOption = None,
    production: ProductionOption = None,
    outcomes: OutcomesOption = None,
    role: RoleOption = None,
    margin: MarginOption = None,
    task: Annotated[
        str | None, typer.Option("--task", help="binary, multiclass, regression or ranking; guessed when not given.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Score from which a row counts as predicted positive.")
    ] = None,
    k: Annotated[int | None, typer.Option("--k", help="Ranks that count in NDCG (default 10).")] = None,
    predict: Annotated[
        str | None,
        typer.Option(
            "--predict", metavar="MODULE:FUNCTION", help="The model: a function from a Polars frame to scores."
        ),
    ] = None,
    serving: Annotated[
        list[str] | None,
        typer.Option(
            "--serving", metavar="COLUMN=VALUE", help="What serving code puts in where a column is missing; repeatable."
        ),
    ] = None,
    alpha: AlphaOption = None,
    config: ConfigOption = None,
    json: JsonOption = None,
    html: HtmlOption = None,
    fail_on: FailOnOption = FailOn.ALARM,
) -> None:
    """Is the model as good in production as offline tests said, and if not, why?"""
    known, roles, margins = settle(
        config,
        role,
        margin,
        (json, html),
        reference=reference,
        production=production,
        outcomes=outcomes,
        alpha=alpha,
        task=task,
        threshold=threshold,
        k=k,
    )
    model = load_function(predict) if predict else None
    with progress() as say:
        review = launch(
            require(known.reference, "--reference"),
            require(known.production, "--production"),
            outcomes=known.outcomes,
            roles=roles,
            margins=margins,
            alpha=known.alpha,
            task=known.task,
            threshold=known.threshold,
            k=known.k,
            predict=model,
            serving=parse_serving(serving or []),
            progress=say,
        )
    leave(review, json, html, fail_on)


def parse_serving(words: Sequence[str]) -> dict[str, float | str]:
    """Serving values from words like ``duration=0``; what reads as a number is one.

    Raises:
        InputError: For a word without "=".
    """
    out: dict[str, float | str] = {}
    for word in words:
        column, equals, value = word.rpartition("=")
        if not equals or not column:
            raise InputError(f"The serving value {word!r} is not of the form COLUMN=VALUE, such as duration=0.")
        try:
            out[column] = float(value)
        except ValueError:
            out[column] = value
    return out


def load_function(name: str) -> Callable[..., Any]:
    """Import a function named MODULE:FUNCTION; modules of the working folder count.

    Raises:
        InputError: When there is no such module or function.
    """
    module, colon, function = name.partition(":")
    if not colon or not module or not function:
        raise InputError(f"The model {name!r} is not of the form MODULE:FUNCTION, such as scoring:predict.")
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise InputError(f"The module {module!r} of --predict cannot be imported: {error}.") from None
    finally:
        sys.path.remove("")
    if not callable(found):
        raise InputError(f"The module {module!r} has no function {function!r}; check the name given to --predict.")
    return found  # type: ignore[no-any-return]
