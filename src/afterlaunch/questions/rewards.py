"""What a logged row brought, as a number."""

from __future__ import annotations

import math

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.roles import Roles
from afterlaunch.tables import Table, as_number, fetch


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
    number = as_number(table, column, roles.positive)
    infinite = number.abs() == math.inf
    bad = fetch(table.frame.select(nw.when(infinite).then(1).otherwise(0).sum().alias("n")), table).item()
    if bad:
        raise InputError(
            f"The outcome {column!r} of the {table.name} table is infinite in {int(bad):,} rows; leave them out, or "
            "give a number."
        )
    return number
