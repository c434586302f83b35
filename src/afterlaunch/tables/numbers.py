"""A column as numbers: amounts as they are, truth as 1, a chosen value as 1."""

from __future__ import annotations

import narwhals as nw

from afterlaunch.decide import InputError
from afterlaunch.tables.table import Table, as_text


def are_numbers(table: Table, column: str) -> bool:
    """Whether a column holds numbers or truth values."""
    return table.kinds[column] == "numeric" or table.given.get(column) == nw.Boolean


def as_number(table: Table, column: str, positive: object = None) -> nw.Expr:
    """The values of a column as floats, null where missing.

    Args:
        table: The table.
        column: Numbers, truth values, or anything where `positive` is given.
        positive: The value that counts as 1, all others being 0; None takes numbers as they are and true as 1.

    Raises:
        InputError: For a column of other values without `positive`, and for a positive value that is no number in
            a column of numbers.

    Example:
        >>> import polars as pl
        >>> from afterlaunch.tables import fetch, open_table
        >>> log = open_table(pl.DataFrame({"bought": ["yes", None, "no"], "seen": [True, None, False]}), name="log")
        >>> found = fetch(log.frame.select(a=as_number(log, "bought", "yes"), b=as_number(log, "seen")))
        >>> found["a"].to_list(), found["b"].to_list()
        ([1.0, None, 0.0], [1.0, None, 0.0])
    """
    value = nw.col(column)
    if positive is None and table.kinds[column] == "numeric":
        return value.cast(nw.Float64)
    wanted: str | float = "true" if positive is None else as_text(positive)
    if positive is None and not are_numbers(table, column):
        raise InputError(
            f"The column {column!r} of the {table.name} table holds {table.schema()[column]}, no numbers; give 0 and "
            "1, or amounts; of an outcome name the value that counts with the role positive."
        )
    if table.kinds[column] == "numeric":
        try:
            wanted = float(str(positive))
        except ValueError:
            raise InputError(
                f"The positive outcome is {positive!r}, but {column!r} holds numbers; give one of its numbers."
            ) from None
    yes = nw.when(value == nw.lit(wanted)).then(nw.lit(1.0)).otherwise(nw.lit(0.0))
    return nw.when(~value.is_null()).then(yes)
