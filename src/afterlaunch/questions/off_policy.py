"""Before an A/B: what would the new policy have brought?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from afterlaunch.decide import InputError, Margins, decide, require_alpha, withheld
from afterlaunch.finding import Finding, Json, Review, Verdict
from afterlaunch.profile.logged import Logged, Unseen
from afterlaunch.questions.gather import Progress, preload
from afterlaunch.questions.rewards import reward_of
from afterlaunch.roles import Roles
from afterlaunch.stats.reward_model import Policy, cross_fitted
from afterlaunch.tables import Table, fetch, open_table, require_chances, require_kinds, require_roles, sample
from afterlaunch.tables.rules import short

CHECKS = ("off_policy",)
PRIMARY = ("off_policy",)

MOST_ROWS = 2_000_000
"""Most decisions that are brought into memory; of more as many are drawn."""

SEED = 0
PROBABILITY = "probability"
"""Column of `target_policy` with the probability."""

SUMS = 0.01
"""How far the probabilities of one place may be from 1 in sum."""

Integers = NDArray[np.int64]


def off_policy(
    log: Any,
    *,
    target: str | None = None,
    target_policy: Any = None,
    roles: Roles | Mapping[str, Any] | None = None,
    model: bool | Sequence[str] | None = None,
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Estimate from logged decisions what a new policy would have brought.

    Args:
        log: The log, a row for each decision: a path or glob, or any dataframe or relation narwhals knows, with the
            roles `outcome` (the reward) and `propensity` (with which probability the logged action was taken), and
            `unit` where decisions of one user depend on each other.
        target: Column of the log with the probability with which the new policy would have taken the logged action.
        target_policy: In its place a table with what the new policy would do: a column with the role `item`, one with
            the role `position` where there are places, and a column "probability", which sums to 1 at each place. An
            item that it lacks is never taken.
        roles: What columns mean.
        model: Of the reward, for the doubly robust estimate. None fits one by item and place where there is a
            `target_policy`; False takes none; two columns of the log give yours: the reward it predicts of the logged
            action, and the one it expects of the new policy at the same place.
        margins: How much change matters, over the defaults in `docs/off-policy.md`. One for "off_policy/difference"
            holds the lift against a margin in the outcome's own unit.
        alpha: Chance of wrongly trying it, and of wrongly not.
        progress: Called with a few words on what is being done.

    Returns:
        A review whose `decision` says whether to try the new policy in an A/B.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> item = rng.integers(2, size=4000)  # the old policy tosses a coin between two items
        >>> bought = rng.random(4000) < np.where(item == 1, 0.3, 0.1)
        >>> log = pl.DataFrame({"item": item, "bought": bought, "p": 0.5})
        >>> new = pl.DataFrame({"item": [0, 1], "probability": [0.1, 0.9]})
        >>> known = {"outcome": "bought", "propensity": "p", "item": "item"}
        >>> off_policy(log, target_policy=new, roles=known).decision[:35]
        'Try the new policy in an A/B: 37 % '
    """
    say = progress or (lambda _: None)
    preload()
    require_alpha(alpha)
    held = Margins(margins or {})
    if (target is None) == (target_policy is None):
        raise InputError(
            "Give either the column with the new policy's probabilities as target, or a table of them as target_policy."
        )
    say("opening the log")
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    table = open_table(log, name="log")
    for role in ("outcome", "propensity"):
        if getattr(known, role) is None:
            what = "what a decision brought" if role == "outcome" else "with which probability the action was taken"
            raise InputError(f"Nothing says {what}; name its column with the role {role}.")
    require_roles(known, [table])
    require_kinds(table, known)
    own = _own_model(model, table, target_policy)
    say("looking at the probabilities")
    require_chances(table, str(known.propensity), "propensity", taken=True)
    if target is not None:
        if not isinstance(target, str):
            raise InputError(f"The target is {target!r}; give the name of a column, or a table as target_policy.")
        if target not in table.columns:
            raise InputError(f"The log has no column {target!r}, the target; check the name.")
        require_chances(table, target, "probability", taken=False)
    absolute = any(key.partition("@")[0] == "off_policy/difference" for key in held.given)
    notes: list[str] = []
    frame, total = _fetched(table, known, target, own, notes)
    say("weighing decisions")
    if target is not None:
        counted = replace(_decisions(frame, known, total, absolute), target=_array(frame, "target"))
    else:
        policy = _policy(target_policy, table, known)
        counted = _joined(frame, policy, _decisions(frame, known, total, absolute), known, model is not False)
    if own:
        counted = replace(
            counted, predicted=_array(frame, "predicted"), expected=_array(frame, "expected"), model="your model"
        )
    notes += _said(counted, target is not None, model)
    return judge(
        counted,
        margins=held.given,
        alpha=alpha,
        settings={"roles": known.to_dict(), **({"target": target} if target is not None else {})},
        rows={"log": table.rows()},
        notes=notes,
        progress=progress,
    )


def judge(
    logged: Logged,
    *,
    margins: Mapping[str, float],
    alpha: float,
    settings: Json,
    rows: Json,
    notes: Sequence[str],
    progress: Progress | None = None,
) -> Review:
    """Decide from logged decisions.

    Args:
        logged: The decisions.
        margins: The user's margins.
        alpha: Chance of wrongly trying the new policy, and of wrongly not.
        settings: Roles and target, for the record.
        rows: Rows of tables.
        notes: Sentences for the review.
        progress: Called with a few words on what is being done.
    """
    from afterlaunch import __version__
    from afterlaunch.checks.off_policy import CHECK, WITHHELD, estimates

    say = progress or (lambda _: None)
    say("deciding")
    held = Margins(margins)
    found = estimates(logged)
    held.require_known({CHECK.name: CHECK.kinds}, {CHECK.name: [e.subject for e in found]})
    trust = decide([e for e in found if not e.primary], margins=held, alpha=alpha, family="trust in the log")
    effects = decide(
        [e for e in found if e.primary], margins=held, alpha=alpha, primary=PRIMARY, family="off-policy review"
    )
    broken = next((f for f in trust if f.key in WITHHELD and f.verdict is Verdict.ALARM), None)
    if broken is not None:
        why = WITHHELD[broken.key]
        trust = [f if f is broken else withheld(f, broken, reason=why, mend="the log") for f in trust]
        effects = [withheld(f, broken, reason=why, mend="the log") for f in effects]
    return Review(
        "off_policy",
        (*trust, *effects),
        {**rows, "decisions looked at": logged.rows},
        {**settings, "margins": dict(margins), "alpha": alpha, "checks": list(CHECKS)},
        tuple(notes),
        __version__,
        decision=_decision(effects[0], broken),
    )


def _decision(lift: Finding, broken: Finding | None) -> str:
    if broken is not None:
        return f"Not decided: {broken.sentence} {broken.action}"
    if lift.verdict is Verdict.OK:
        return f"Try the new policy in an A/B: {lift.sentence}"
    if lift.verdict is Verdict.ALARM:
        return f"Do not bother: {lift.sentence} A gain that matters is excluded."
    return f"Not decided: {lift.sentence} {lift.action}"


# ------------------------------------------------------------------ what is read


def _own_model(model: Any, table: Table, policy: Any) -> tuple[str, str] | None:
    """The columns of the user's own model."""
    if model is None or model is False:
        return None
    if model is True:
        if policy is None:
            raise InputError(
                "A model of the reward needs to know what else the new policy would do; give target_policy, or "
                "two columns of your own model."
            )
        return None
    if isinstance(model, str) or not isinstance(model, Sequence) or len(model) != 2:
        raise InputError(
            f"The model is {model!r}; give two columns: the reward predicted of the logged action, and expected "
            "of the new "
            "policy."
        )
    for column in model:
        if column not in table.columns:
            raise InputError(f"The log has no column {column!r}, which the model names; check the name.")
        if table.kinds[column] != "numeric":
            raise InputError(f"The column {column!r}, which the model names, holds no numbers; give predicted rewards.")
        value = nw.col(column).cast(nw.Float64)
        unusable = value.is_null() | (value == float("inf")) | (value == float("-inf"))
        if n := _count(table, unusable):
            raise InputError(
                f"The column {column!r}, which the model names, is missing or infinite in {n:,} rows; predict "
                "all of them."
            )
    return str(model[0]), str(model[1])


def _count(table: Table, condition: nw.Expr) -> int:
    hits = nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0)).sum().alias("n")
    return int(fetch(table.frame.select(hits), table).item() or 0)


def _fetched(
    table: Table, roles: Roles, target: str | None, own: tuple[str, str] | None, notes: list[str]
) -> tuple[pl.DataFrame, int]:
    """The columns that are looked at, under names of ours, and how many decisions have an outcome."""
    columns = {
        "reward": reward_of(table, roles),
        "logged": nw.col(str(roles.propensity)).cast(nw.Float64),
    }
    if target is not None:
        columns["target"] = nw.col(target).cast(nw.Float64)
    for name in ("unit", "item", "position"):
        column = getattr(roles, name)
        if column is not None:
            columns[name] = nw.col(column)
    if own is not None:
        columns |= {"predicted": nw.col(own[0]).cast(nw.Float64), "expected": nw.col(own[1]).cast(nw.Float64)}
    ours = table.with_frame(table.frame.select(**columns))
    filled = ours.with_frame(ours.frame.filter(~nw.col("reward").is_null()))
    total, every = filled.rows(), table.rows()
    if total == 0:
        raise InputError(
            f"No row of the log has an outcome in {roles.outcome!r}; give a log of decisions with outcomes."
        )
    if total < every:
        notes.append(
            f"{every - total:,} of {every:,} decisions have no outcome and are left out; look why they have none."
        )
    if total > MOST_ROWS:
        notes.append(f"{MOST_ROWS:,} of {total:,} decisions were drawn at random (seed {SEED}) and looked at.")
    return sample(filled, list(columns), MOST_ROWS, SEED), total


def _array(frame: pl.DataFrame, column: str) -> NDArray[np.float64]:
    return frame[column].to_numpy().astype(np.float64)


def _decisions(frame: pl.DataFrame, roles: Roles, total: int, absolute: bool) -> Logged:
    """The decisions without anything of the new policy."""
    groups: Integers | None = None
    if "unit" in frame.columns:
        ranks = frame.select(pl.col("unit").rank("dense").cast(pl.Int64).fill_null(0))["unit"].to_numpy()
        # A row of no known unit stands for itself.
        codes = np.where(ranks > 0, ranks, len(ranks) + 1 + np.arange(len(ranks)))
        groups = np.unique(codes, return_inverse=True)[1].astype(np.int64)
    logged = _array(frame, "logged")
    return Logged(
        outcome=str(roles.outcome),
        reward=_array(frame, "reward"),
        logged=logged,
        target=np.zeros(len(logged)),
        total=total,
        groups=groups,
        absolute=absolute,
    )


# ------------------------------------------------------------------ the new policy as a table


@dataclass(frozen=True)
class _Joining:
    """The policy's rows, and the columns by which they are joined to the log's."""

    frame: pl.DataFrame
    keys: tuple[str, ...]


def _policy(given: Any, log: Table, roles: Roles) -> _Joining:
    """The table of the new policy, with columns named as ours.

    Raises:
        InputError: For a table that is no policy.
    """
    if roles.item is None:
        raise InputError("A target_policy is joined by item; name the log's column of items with the role item.")
    table = open_table(given, name="target_policy")
    keys = {"item": roles.item, **({"position": roles.position} if roles.position is not None else {})}
    for role, column in keys.items():
        if column not in table.columns:
            raise InputError(
                f"The target_policy table has no column {column!r}, the role {role!r}; "
                f"it has {', '.join(map(repr, table.columns[:8]))}."
            )
        if table.kinds[column] != log.kinds[column]:
            raise InputError(
                f"The column {column!r} holds {log.kinds[column]} values in the log and {table.kinds[column]} "
                "values in "
                "target_policy; convert one of them so that equal items are equal."
            )
    if PROBABILITY not in table.columns:
        raise InputError(f"The target_policy table has no column {PROBABILITY!r}; name its probabilities so.")
    require_chances(table, PROBABILITY, "probability", taken=False)
    columns = {name: nw.col(column) for name, column in keys.items()}
    frame = fetch(table.frame.select(**columns, probability=nw.col(PROBABILITY).cast(nw.Float64)), table)
    if frame.height == 0:
        raise InputError("The target_policy table is empty; give a row for each item and place.")
    for name, column in keys.items():
        if frame[name].null_count():
            raise InputError(f"The column {column!r} of target_policy is missing in some rows; name every {name}.")
    twice = frame.filter(frame.select(*keys).is_duplicated())
    if twice.height:
        values = ", ".join(f"{keys[n]} = {short(twice[n][0])}" for n in keys)
        raise InputError(f"The target_policy table has {values} more than once; add their probabilities up.")
    places = (
        frame.sort("position").group_by("position", maintain_order=True) if "position" in keys else [(("",), frame)]
    )
    for (place,), part in places:
        total = float(part["probability"].sum())
        if abs(total - 1) > SUMS:
            where = f"{keys['position']} = {short(place)}" if "position" in keys else "all items"
            raise InputError(
                f"The column {PROBABILITY!r} of target_policy sums to {total:.4g} over {where}; divide by the "
                "sum so that "
                "it is 1."
            )
    return _Joining(frame, tuple(keys))


def _joined(frame: pl.DataFrame, policy: _Joining, logged: Logged, roles: Roles, fit: bool) -> Logged:
    """The decisions with the new policy's probabilities, what it would do else, and a model of the reward."""
    keys = list(policy.keys)
    for name in keys:
        if frame[name].null_count():
            raise InputError(
                f"The column {getattr(roles, name)!r} of the log is missing in {frame[name].null_count():,} "
                "rows; name the "
                f"{name} of every decision."
            )
    log_keys, own_keys = frame.select(keys), policy.frame.select(keys)
    common = {n: _common(log_keys[n].dtype, own_keys[n].dtype) for n in keys}
    log_keys, own_keys = log_keys.cast(common), own_keys.cast(common)  # type: ignore[arg-type]
    if "position" in keys:
        known = set(own_keys["position"].unique())
        strange = next((p for p in log_keys["position"].unique().sort() if p not in known), None)
        if strange is not None:
            raise InputError(
                f"The log has {roles.position} = {short(strange)}, of which target_policy says nothing; add its "
                "items there, "
                "or leave those decisions out."
            )
    own = own_keys.with_columns(policy.frame["probability"])
    target = log_keys.join(own, on=keys, how="left", maintain_order="left")["probability"].fill_null(0.0)
    both = pl.concat([log_keys, own_keys])
    codes = {n: np.unique(both[n].to_numpy(), return_inverse=True)[1].astype(np.int64) for n in keys}
    n = log_keys.height
    places = codes.get("position", np.zeros(both.height, dtype=np.int64))
    taken = own["probability"].to_numpy().astype(np.float64)
    counted = replace(
        logged, target=target.to_numpy().astype(np.float64), unseen=_unseen(log_keys, own, keys, places[:n])
    )
    if not fit or n < LEAST_FOR_MODEL:
        return counted
    new = Policy(codes["item"][n:], places[n:], taken)
    found = cross_fitted(counted.reward, codes["item"][:n], places[:n], new, groups=counted.groups)
    return replace(counted, predicted=found.predicted, expected=found.expected, model=f"{found.kind} by item and place")


LEAST_FOR_MODEL = 200
"""Decisions below which no model of the reward is fitted."""


def _common(a: Any, b: Any) -> Any:
    if a == b:
        return a
    return pl.Float64 if a.is_numeric() and b.is_numeric() else a


def _unseen(log: pl.DataFrame, own: pl.DataFrame, keys: list[str], places: Integers) -> tuple[Unseen, ...]:
    """What the new policy would take that the log never shows, by share of all decisions."""
    never = own.filter(pl.col("probability") > 0).join(log.unique(), on=keys, how="anti")
    if "position" in keys:
        weight = log["position"].value_counts(name="rows").with_columns(pl.col("rows") / len(places))
        never = never.join(weight, on="position", how="inner").with_columns(pl.col("probability") * pl.col("rows"))
    never = never.sort("probability", *keys, descending=[True, *(False for _ in keys)])
    return tuple(
        Unseen(_text(row["item"]), _text(row["position"]) if "position" in keys else "", float(row["probability"]))
        for row in never.head(50).iter_rows(named=True)
    )


def _text(value: Any) -> str:
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return short(value).strip("'")


def _said(logged: Logged, column: bool, model: Any) -> list[str]:
    out = []
    if logged.groups is None:
        out.append("Decisions were taken as independent; name the unit if a user has several.")
    if not logged.model and model is not False:
        why = (
            "it needs all that the new policy would do, as a target_policy"
            if column
            else f"there are fewer than {LEAST_FOR_MODEL} decisions"
        )
        out.append(f"No model of the reward was fitted, so there is no doubly robust estimate: {why}.")
    out.append(
        "Each place is taken for itself: what else stands in the list, and what users would get used to, no "
        "estimate from old decisions holds. An A/B does."
    )
    return out
