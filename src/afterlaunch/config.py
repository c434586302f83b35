"""Settings of a review, from flags, the environment and a file: the nearest one wins."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from afterlaunch.decide import InputError, Margins
from afterlaunch.roles import Roles

FILE = "afterlaunch.toml"
PREFIX = "AFTERLAUNCH_"
TABLES = ("reference", "production", "outcomes", "log", "panel", "previous", "current")
NESTED = ("roles", "margins")


class Config(BaseModel):
    """What a review is told, and the schema of ``afterlaunch.toml``.

    Every key may be left out; the tables that a question has are given as paths, globs or URLs,
    which start, as those of flags do, from the working directory::

        reference = "holdout.parquet"     # also production, outcomes, log, panel, previous, current
        production = "log/*.parquet"
        alpha = 0.05                      # chance of any false alarm in a review
        task = "binary"                   # or multiclass, regression, ranking; guessed when left out
        threshold = 0.5                   # a score from here on is a positive prediction
        k = 10                            # length of the list that ranking metrics look at
        every = "1d"                      # length of a window; also "5000 rows"
        alarm_budget = "1/month"          # with windows: most false episodes to expect

        [roles]                           # see `Roles`; a column without a role is a feature
        outcome = "clicked"
        ignore = ["internal note"]

        [roles.scores]                    # class = column, for several classes
        red = "p_red"

        [margins]                         # CHECK[/EFFECT][@COLUMN] = how much change matters
        "metric/auc" = 0.01

    Attributes:
        reference: What normal is.
        production: The log to judge.
        outcomes: What happened, by id.
        log: One log with everything in it.
        panel: Fixed rows scored by several versions.
        previous: Last week's clusters.
        current: This week's.
        roles: What the columns mean.
        margins: Margin key to margin.
        alpha: Chance of any false alarm in a review, in (0, 0.5).
        task: What is predicted; None is guessed.
        threshold: Score from which a prediction is positive; None is the question's default.
        k: Length of the list that ranking metrics look at; None is the question's default.
        every: Length of a window, such as "1d"; None compares two tables as a whole.
        alarm_budget: With windows, how many false episodes to expect at most.

    Example:
        >>> Config(roles=Roles(outcome="y")).alpha
        0.05
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    reference: str | None = None
    production: str | None = None
    outcomes: str | None = None
    log: str | None = None
    panel: str | None = None
    previous: str | None = None
    current: str | None = None
    roles: Roles = Field(default_factory=Roles)
    margins: dict[str, float] = Field(default_factory=dict)
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    task: Literal["binary", "multiclass", "regression", "ranking"] | None = None
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    k: int | None = Field(default=None, ge=1)
    every: str | None = Field(default=None, pattern=r"^[1-9]\d*(m|h|d|w|mo|q|y| ?rows)$")
    alarm_budget: str = Field(
        default="1/month", pattern=r"^\d+(\.\d+)?/(\d+ ?)?(day|week|month|quarter|year|d|w|mo|q|y)$"
    )

    @classmethod
    def load(cls, path: str | Path | None = None) -> Config:
        """The settings of the environment and of a file.

        Args:
            path: The file; None reads what ``AFTERLAUNCH_CONFIG`` names, or ``afterlaunch.toml``
                of the working directory if it is there.

        Raises:
            InputError: When the file is missing or a setting is wrong, naming key, value and remedy.

        Example:
            >>> Config.load("no/such.toml")
            Traceback (most recent call last):
            afterlaunch.decide.InputError: There is no configuration file 'no/such.toml'; check the path, ...
        """
        return resolve({}, path=path)


def resolve(
    flags: Mapping[str, Any],
    *,
    path: str | Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Put the settings together: a flag wins over the environment, that over the file, that over the default.

    The environment has ``AFTERLAUNCH_`` and the key in capitals: ``AFTERLAUNCH_ALPHA=0.01``,
    ``AFTERLAUNCH_PRODUCTION=log.parquet``; ``AFTERLAUNCH_ROLES`` and ``AFTERLAUNCH_MARGINS`` hold
    JSON objects. Roles and margins are merged key by key.

    Args:
        flags: Setting to its value; None means that the flag was not given.
        path: As for `Config.load`.
        environ: Instead of `os.environ`.

    Raises:
        InputError: For anything wrong, naming where it stands, its value and the remedy.

    Example:
        >>> flags = {"alpha": None, "log": "a.csv"}
        >>> config = resolve(flags, environ={"AFTERLAUNCH_ALPHA": "0.01", "AFTERLAUNCH_ROLES": '{"time": "ts"}'})
        >>> config.alpha, config.log, config.roles.time
        (0.01, 'a.csv', 'ts')
    """
    environ = os.environ if environ is None else environ
    path = path or environ.get(PREFIX + "CONFIG") or None
    merged: dict[str, Any] = {name: {} for name in NESTED}
    origin: dict[str, str] = {}
    for layer, where in (
        _file(path),
        (_environment(environ), "the environment"),
        ({k: v for k, v in flags.items() if v is not None}, "the command line"),
    ):
        _require_known(layer, where)
        for key, value in layer.items():
            merged[key] = {**merged[key], **value} if key in NESTED else value
            origin[key] = where
    roles = Roles.from_mapping(merged.pop("roles"))
    try:
        config = Config(roles=roles, **merged)
    except ValidationError as error:
        raise _sentence(error, origin) from error
    Margins(config.margins)
    return config


def _file(path: str | Path | None) -> tuple[dict[str, Any], str]:
    """Content of the configuration file, and what to call it."""
    file = Path(path or FILE).expanduser()
    name = repr(str(file))
    if path is None and not file.exists():
        return {}, name
    try:
        held = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        # The plan of a release stands in the same file, and is read by those who release.
        return {key: value for key, value in held.items() if key != "release"}, name
    except FileNotFoundError as error:
        raise InputError(
            f"There is no configuration file {name}; check the path, or write one with 'afterlaunch init TABLE'."
        ) from error
    except OSError as error:
        raise InputError(f"The configuration file {name} cannot be read ({error.strerror}); check it.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"The configuration file {name} is not UTF-8 text; save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        what = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"The configuration file {name} is not TOML ({what}); put quotes around text and odd names."
        ) from error


def _require_known(layer: Mapping[str, Any], where: str) -> None:
    """Refuse keys that are no setting."""
    for key, value in layer.items():
        if key not in Config.model_fields:
            raise InputError(
                f"There is no setting {key!r} in {where}; the settings are {', '.join(Config.model_fields)}."
            )
        if key in NESTED and not isinstance(value, Mapping):
            raise InputError(f"The setting {key!r} of {where} is {value!r}; write a table [{key}] of name = value.")


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key in Config.model_fields:
        text = environ.get(PREFIX + key.upper())
        if text is not None:
            out[key] = _object(PREFIX + key.upper(), text) if key in NESTED else text
    return out


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise InputError(f'{name} is {text!r}; give a JSON object such as {{"outcome": "clicked"}}.')
    return data


def _sentence(error: ValidationError, origin: Mapping[str, str]) -> InputError:
    first = error.errors()[0]
    path = [str(p) for p in first["loc"]]
    what = f"The margin {path[1]!r}" if path[0] == "margins" and len(path) > 1 else f"The setting {path[0]!r}"
    where = origin.get(path[0], "the settings")
    needed = WORDS.get(path[0]) or first["msg"].replace("Input should be", "it must be").rstrip(".")
    return InputError(f"{what} of {where} is {first['input']!r}; {needed[0].lower()}{needed[1:]}.")


WORDS = {
    **dict.fromkeys(TABLES, "give a path, a glob or a URL as text"),
    "alpha": "give a number between 0 and 0.5, such as 0.05",
    "task": "give binary, multiclass, regression or ranking",
    "threshold": "give a number, such as 0.5",
    "k": "give a whole number from 1 up, such as 10",
    "every": 'give a number and a unit (m, h, d, w, mo, q, y, rows), such as "1d"',
    "alarm_budget": 'give episodes per time, such as "1/month" or "0.5/week"',
    "margins": "give a positive number",
}
"""What a setting needs, in words."""
