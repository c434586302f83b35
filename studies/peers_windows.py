"""Published decision rules of other tools, window by window, from the rows per value that our check gets too.

Each rule gives every window a score and says from which score on it flags the column. The rules:

- Evidently 0.7 with more than 1,000 reference rows (`_get_default_stattest`): Wasserstein distance over the
  reference's standard deviation for numbers of more than five different values, else Jensen-Shannon distance,
  each flagged from 0.1 on; whole numbers of at most ten values in the window count as categories.
- NannyML 0.13 (`UnivariateDriftCalculator`): Jensen-Shannon distance to base 2, over Doane's bins for numbers,
  flagged beyond the mean and three standard deviations of the reference's own days.
- Plain tests: two-sample Kolmogorov-Smirnov for numbers, chi-square for categories, flagged below p = .05.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from _common import Floats, Ints
from _windows import Counted
from scipy import special


@dataclass(frozen=True)
class Scored:
    """A rule on one column.

    Attributes:
        score: Score of each window, shape (W,); NaN for a window without rows.
        limit: What the rule holds it against.
        inclusive: Whether a score at the limit is flagged.
    """

    score: Floats
    limit: float
    inclusive: bool = False

    @property
    def flags(self) -> Any:
        """Whether each window is flagged, shape (W,)."""
        score = np.nan_to_num(self.score, nan=-np.inf)
        return score >= self.limit if self.inclusive else score > self.limit


def js(p: Floats, q: Floats, base: float) -> Floats:
    """Jensen-Shannon distance of each row of q from p."""
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p > 0, p * np.log(p / middle), 0.0).sum(axis=-1)
        right = np.where(q > 0, q * np.log(q / middle), 0.0).sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum(left + right, 0.0) / 2 / np.log(base)))


def _shares(table: Ints) -> Floats:
    n = table.sum(axis=-1, keepdims=True)
    return np.where(n > 0, table / np.maximum(n, 1), np.nan)


def _ordered(c: Counted) -> tuple[Any, Ints, Ints]:
    order = np.argsort(c.column.values, kind="stable")
    return c.column.values[order], c.before[:, order], c.after[:, order]


def evidently(c: Counted) -> Scored:
    values, past, now = _ordered(c) if c.column.numeric else (c.column.values, c.before, c.after)
    before = past.sum(axis=0)
    score = js(before / before.sum(), _shares(now), np.e)
    if c.column.numeric:
        p = before / before.sum()
        sd = float(np.sqrt(p @ (values - p @ values) ** 2))
        gap = np.abs(np.cumsum(_shares(now) - p, axis=1))[:, :-1] @ np.diff(values)
        # The type is taken from the window: a day of few different whole numbers is one of categories.
        whole = bool((c.column.values[:-1] == np.floor(c.column.values[:-1])).all())
        categories = whole & ((now > 0).sum(axis=1) <= 10)
        score = np.where(categories | (((before + now) > 0).sum(axis=1) <= 5), score, gap / max(sd, 0.001))
    return Scored(score, 0.1, inclusive=True)


def nannyml(c: Counted) -> Scored:
    if c.column.numeric:
        values, past, now = _ordered(c)
        edges = np.histogram_bin_edges(np.repeat(values, past.sum(axis=0)), bins="doane")
        # As `numpy.histogram`: bins closed on the left, the last one on both sides.
        at = np.searchsorted(edges, values, side="right") - 1
        at[values == edges[-1]] = edges.size - 2
        at[(values < edges[0]) | (values > edges[-1])] = edges.size - 1
        member = np.zeros((values.size, edges.size), dtype=np.int64)
        member[np.arange(values.size), at] = 1
        before, after = past @ member, now @ member
    else:
        before, after = c.before, c.after
    p = before.sum(axis=0) / before.sum()
    days = js(p, _shares(before), 2.0)
    return Scored(js(p, _shares(after), 2.0), float(np.nanmean(days) + 3 * np.nanstd(days)))


def plain(c: Counted) -> Scored:
    """The score is minus the logarithm of the p-value."""
    total, n = c.before.sum(axis=0), c.after.sum(axis=1)
    m = int(total.sum())
    with np.errstate(divide="ignore", invalid="ignore"):
        if c.column.numeric:
            _, past, now = _ordered(c)
            gap = np.abs(np.cumsum(_shares(now) - past.sum(axis=0) / m, axis=1)).max(axis=1)
            p = special.kolmogorov(gap * np.sqrt(n * m / (n + m)))
        else:
            pooled = (total + c.after) / (m + n)[:, None]
            off = (c.after - n[:, None] * pooled) ** 2 / (n[:, None] * pooled)
            off = off + (total - m * pooled) ** 2 / (m * pooled)
            p = special.chdtrc(np.maximum((pooled > 0).sum(axis=1) - 1, 1), np.nansum(off, axis=1))
        score = np.where(n > 0, -np.log(np.maximum(p, 1e-300)), np.nan)
    return Scored(score, -float(np.log(0.05)))


RULES: dict[str, Callable[[Counted], Scored]] = {"Evidently": evidently, "NannyML": nannyml, "plain tests": plain}


# ------------------------------------------------------------------ the tools themselves

EVIDENTLY = """
import json, sys
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset
a, b = (pd.read_parquet(f"{sys.argv[1]}/{part}.parquet") for part in "ab")
a = a.drop(columns="when")
out = []
for _, day in b.groupby(b["when"].dt.date):
    found = Report([DataDriftPreset()], include_tests=True).run(day.drop(columns="when"), a).dict()
    out.append({t["metric_config"]["params"]["column"]: t["status"] == "FAIL"
                for t in found["tests"] if "column" in t["metric_config"]["params"]})
print(json.dumps(out, default=str))
"""

NANNYML = """
import json, os, sys
os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
import pandas as pd
import nannyml
a, b = (pd.read_parquet(f"{sys.argv[1]}/{part}.parquet") for part in "ab")
names = [c for c in a.columns if c != "when"]
calc = nannyml.UnivariateDriftCalculator(column_names=names, timestamp_column_name="when", chunk_period="D").fit(a)
found = calc.calculate(b).filter(period="analysis").to_df()
print(json.dumps([{n: bool(found[n, "jensen_shannon", "alert"].iloc[i]) for n in names} for i in range(len(found))]))
"""

SCRIPTS = {"Evidently": EVIDENTLY, "NannyML": NANNYML}


def run_peer(name: str, python: str, reference: pl.DataFrame, production: pl.DataFrame) -> list[dict[str, bool]]:
    """What the tool itself says of each day of production, by column; both tables have their time in "when"."""
    with tempfile.TemporaryDirectory() as folder:
        reference.write_parquet(f"{folder}/a.parquet")
        production.write_parquet(f"{folder}/b.parquet")
        command = [python, "-W", "ignore", "-c", SCRIPTS[name], folder]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    out: list[dict[str, bool]] = json.loads(done.stdout.strip().splitlines()[-1])
    return out


def compare(name: str, columns: Sequence[Counted], theirs: list[dict[str, bool]], days: Ints) -> list[str]:
    """Where our version of a rule says something else than the tool on the days that have rows."""
    out = []
    for c in columns:
        scored = RULES[name](c)
        for i, day in enumerate(days):
            said = theirs[i].get(c.column.name)
            if said is not None and said != bool(scored.flags[day]):
                out.append(
                    f"{c.column.name}, day {day}: ours {bool(scored.flags[day])}, theirs {said} "
                    f"(score {scored.score[day]:.4f}, limit {scored.limit:.4f})"
                )
    return out
