"""Opening anything as one narwhals frame: the engine that holds the rows counts them.

`open_table` takes a path, a URL, a dataframe or a relation and refuses unusable input in one
sentence. `fetch` brings small results into memory, `sample` a bounded number of rows,
`join_outcomes` says what happened after each prediction, and the `require_*` functions refuse
tables that contradict their roles.
"""

from afterlaunch.tables.calendar import Every, parse_every
from afterlaunch.tables.frames import as_pandas
from afterlaunch.tables.joining import JoinInfo, join_outcomes
from afterlaunch.tables.numbers import are_numbers, as_number
from afterlaunch.tables.opening import open_table
from afterlaunch.tables.rules import (
    align_kinds,
    require_chances,
    require_kinds,
    require_probability,
    require_roles,
    require_same_clock,
    require_unique,
)
from afterlaunch.tables.sampling import drawn_rows, sample, sample_by, with_row_number
from afterlaunch.tables.table import Table, as_text, collecting, fetch, fetch_all, free_name, missing
from afterlaunch.tables.windows import Cut, cut

__all__ = [
    "Cut",
    "Every",
    "JoinInfo",
    "Table",
    "align_kinds",
    "are_numbers",
    "as_number",
    "as_pandas",
    "as_text",
    "collecting",
    "cut",
    "drawn_rows",
    "fetch",
    "fetch_all",
    "free_name",
    "join_outcomes",
    "missing",
    "open_table",
    "parse_every",
    "require_chances",
    "require_kinds",
    "require_probability",
    "require_roles",
    "require_same_clock",
    "require_unique",
    "sample",
    "sample_by",
    "with_row_number",
]
