"""Does a row that is in both tables have the same values in both?"""

from __future__ import annotations

import numpy as np

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.checks.rows import percent
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.stats.clustered import Share, counted

MISMATCH = EffectKind(
    "mismatch",
    "share of rows with another value",
    "share",
    0.01,
    "up",
    "one row in a hundred served with a value that training never saw there; rounding is no difference",
)
UNMATCHED = EffectKind(
    "unmatched",
    "share of production rows the reference lacks",
    "share",
    1.0,
    "up",
    "informs: rows after the reference was drawn cannot be in it, so the margin is the most it can be",
)


def run(evidence: Evidence) -> list[Estimate]:
    """Training-serving skew, feature by feature.

    Args:
        evidence: Needs "pairs".

    Returns:
        "mismatch" for every feature that both tables have, and "unmatched", which informs. Without
        rows of the same key: one undecided estimate that informs, for then only distributions can
        be compared, as the drift findings do.
    """
    pairs = evidence.pairs
    if pairs is None or int(pairs.matched.sum()) == 0:
        return [
            Estimate(
                "skew",
                MISMATCH,
                "",
                None,
                reason="no_shared_rows",
                primary=False,
                may_alarm=False,
                sentence=(
                    "No row is in both tables under one key, so values cannot be compared row by row; "
                    "the drift findings compare distributions instead."
                ),
                action="Log features with the id that training uses, for a day or so, to see skew row by row.",
            )
        ]
    matched = int(pairs.matched.sum())
    found = [
        _mismatch(name, counted(different, pairs.matched), int(pairs.missing[name].sum()), pairs.examples.get(name, ()))
        for name, different in pairs.different.items()
    ]
    rows = matched + pairs.only_production
    alone = Share(pairs.only_production, rows)
    found.append(
        Estimate(
            "skew",
            UNMATCHED,
            "",
            alone.value,
            alone.interval,
            say=lambda e, v: (
                f"{percent(alone.value)} of production rows are not in the reference, "
                f"and {pairs.only_reference:,} rows of the "
                f"reference are not in production; {matched:,} rows are in both and were compared."
            ),
            n=rows,
            method="Jeffreys interval",
            primary=False,
            may_alarm=False,
        )
    )
    return found


def _mismatch(name: str, one: Share, missing: int, examples: tuple[tuple[str, str, str], ...]) -> Estimate:
    def say(effect: Effect, verdict: Verdict) -> str:
        text = f"{percent(one.value)} of {int(one.rows):,} rows in both tables have another {name!r} in production"
        if missing:
            text += f", {missing:,} of them none at all"
        if examples:
            key, before, after = examples[0]
            text += f"; for example {_short(before)} became {_short(after)} in row {_short(key)}"
        return text + "."

    return Estimate(
        "skew",
        MISMATCH,
        name,
        one.value,
        one.interval,
        say=say,
        n=int(one.rows),
        action=f"Compute {name!r} by the same code, from the same source, as of the same time, in both tables.",
        method="Jeffreys interval" + (" with a design effect from groups of units" if np.isfinite(one.df) else ""),
        rows_needed=one.rows_needed,
        binding="units_too_few",
        p_value=one.p_value,
        table=_table(name, one, examples),
    )


def _short(value: str) -> str:
    return "no value" if value == "" else repr(value if len(value) <= 40 else value[:39] + "…")


def _table(name: str, one: Share, examples: tuple[tuple[str, str, str], ...]) -> Json:
    if examples:
        return {
            "kind": "examples",
            "title": f"{name}: rows with another value in production",
            "columns": ["row", "reference", "production"],
            "rows": [list(e) for e in examples],
        }
    low, high = one.interval(0.05, 0.05)
    row = {"name": "production", "value": one.value, "low": low, "high": high}
    return {"kind": "intervals", "title": f"{name}: share of rows with another value", "unit": "share", "rows": [row]}


CHECK = Check(
    name="skew",
    asks="Does a row that is in both tables have the same values in both?",
    kinds=(MISMATCH, UNMATCHED),
    needs=frozenset({"pairs"}),
    run=run,
)
"""The check, for the registry."""
