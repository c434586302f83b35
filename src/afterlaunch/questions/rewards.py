"""What a logged row brought, as a number."""

from __future__ import annotations

from typing import Any

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.roles import Roles
from afterlaunch.tables import Table, as_text, fetch


def reward_of(table: Table, roles: Roles) -> nw.Expr:
    """The outcome of each row as a float, null where there is none.

    Numbers are taken as they are, truth values as 1 and 0; with the role `positive` the outcome is 1 where it has
    that value, else 0.

    Args:
        table: The log.
        roles: `outcome` is needed.

    Raises:
        InputError: For an outcome that is no number, and for one that is infinite.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import open_table
        >>> log = open_table(pl.DataFrame({"bought": ["yes", None, "no"]}), name="log")
        >>> found = log.frame.select(y=reward_of(log, Roles(outcome="bought", positive="yes")))
        >>> fetch(found)["y"].to_list()
        [1.0, None, 0.0]
    """
    column = str(roles.outcome)
    kind, value = table.kinds[column], nw.col(column)
    if roles.positive is not None:
        wanted: Any = as_text(roles.positive)
        if kind == "numeric":
            try:
                wanted = float(roles.positive)
            except (TypeError, ValueError):
                raise InputError(
                    f"The positive outcome is {roles.positive!r}, but {column!r} holds numbers; give one of its "
                    "numbers."
                ) from None
        return nw.when(~value.is_null()).then((value == wanted).cast(nw.Int64).cast(nw.Float64))
    if table.given.get(column) == nw.Boolean:
        return nw.when(~value.is_null()).then((value == "true").cast(nw.Int64).cast(nw.Float64))
    if kind == "category":
        raise InputError(
            f"The outcome {column!r} of the {table.name} table holds text; name the value that counts with the role "
            "positive, or give a column of numbers."
        )
    if kind != "numeric":
        raise InputError(f"The outcome {column!r} of the {table.name} table holds no numbers; give a column that does.")
    number = value.cast(nw.Float64)
    infinite = (number == float("inf")) | (number == float("-inf"))
    bad = fetch(table.frame.select(nw.when(infinite).then(1).otherwise(0).sum().alias("n")), table).item()
    if bad:
        raise InputError(
            f"The outcome {column!r} of the {table.name} table is infinite in {int(bad):,} rows; leave them "
            "out, or give a "
            "number."
        )
    return number
