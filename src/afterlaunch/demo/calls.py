"""The calls of a Portuguese bank, May 2008 to November 2010, each with the time it was made.

Source: S. Moro, P. Cortez and P. Rita (2014), doi:10.1016/j.dss.2014.03.001, UCI data set 222,
CC BY 4.0; see the NOTICE beside the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import numpy as np
import polars as pl

FIRST_YEAR = 2008
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DATA = resources.files("afterlaunch.demo").joinpath("data")
FILE = "bank_additional_full.parquet"
SOURCE = (
    "Data: UCI Bank Marketing, by Moro, Cortez and Rita (2014), CC BY 4.0. The published table lacks the year, which "
    "follows from the order of its months, and the day: the calls of a month are spread evenly over it."
)
"""Who made the data, and what was added to them."""


def raw_calls() -> pl.DataFrame:
    """The table as its authors published it: 41,188 rows in the order of the calls, 21 columns."""
    with DATA.joinpath(FILE).open("rb") as file:
        return pl.read_parquet(file)


def call_times(months: Sequence[str], first_year: int = FIRST_YEAR) -> pl.Series:
    """When each call was made, from the months of calls in the order of time.

    The published table has no year, so it follows from the order: months go forward, and a step
    back is the turn of a year. The day is not published either: the calls of one month are
    spread evenly over it. So the order and the month are facts, the time within a month is not.

    Args:
        months: Month of each call, as "jan" … "dec", shape (n,), in time order.
        first_year: Year of the first call.

    Returns:
        Times, shape (n,), strictly increasing; a stretch of twelve months without a call
        would go unnoticed.

    Raises:
        ValueError: For a word that is no month.

    Example:
        >>> call_times(["nov", "nov", "dec", "mar"]).dt.to_string("%Y-%m-%d %H:%M").to_list()
        ['2008-11-08 12:00', '2008-11-23 12:00', '2008-12-16 12:00', '2009-03-16 12:00']
    """
    for name in set(months):
        if name not in MONTHS:
            raise ValueError(f"{name!r} is no month; a month is one of {', '.join(MONTHS)}.")
    month = np.array([MONTHS.index(name) for name in months], dtype=np.int64)
    year = first_year + np.cumsum(np.diff(month, prepend=month[:1]) < 0)
    since_1970 = 12 * (year - 1970) + month
    _, first, position, size = np.unique(since_1970, return_index=True, return_inverse=True, return_counts=True)
    start = since_1970.astype("datetime64[M]").astype("datetime64[us]")
    length = (since_1970 + 1).astype("datetime64[M]").astype("datetime64[us]") - start
    within = (np.arange(len(month)) - first[position] + 0.5) / size[position]
    return pl.Series("called_at", start + (length.astype(np.float64) * within).astype("timedelta64[us]"))


def load_calls() -> pl.DataFrame:
    """The calls, with "call_id" (1 is the first), "called_at" in place of "month", and "subscribed" for "y"."""
    raw = raw_calls()
    number = pl.Series("call_id", np.arange(1, raw.height + 1))
    known = raw.drop("month").rename({"y": "subscribed"})
    return known.select(number, call_times(raw["month"].to_list()), pl.all())
