"""Which of two rankers do users prefer, when every list they see is drafted from both?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl

from afterlaunch.decide import InputError, Margins, decide, require_alpha, withheld
from afterlaunch.finding import Finding, Json, Review, Verdict
from afterlaunch.profile.logged import Drafts
from afterlaunch.questions.gather import Progress, preload
from afterlaunch.questions.rewards import reward_of
from afterlaunch.roles import Roles
from afterlaunch.stats.interleaving import team_draft
from afterlaunch.tables import Table, as_text, fetch, fetch_all, open_table, require_kinds, require_roles
from afterlaunch.tables.rules import short
from afterlaunch.words import plain

__all__ = ["interleaving", "judge", "team_draft"]

CHECKS = ("interleaving",)
PRIMARY = ("interleaving",)

DRAFT_ALPHA = 0.001
"""Error rate of the fairness of the drafts, that of the split of an experiment."""

Frame = nw.LazyFrame[Any]


def interleaving(
    log: Any,
    *,
    first: Any,
    second: Any,
    roles: Roles | Mapping[str, Any] | None = None,
    team: str = "team",
    margins: Mapping[str, float] | None = None,
    alpha: float = 0.05,
    progress: Progress | None = None,
) -> Review:
    """Say which of two rankers users prefer, from lists that both drafted.

    Args:
        log: The log, a row for each place of each list that was shown: a path or glob, or any dataframe or relation
            narwhals knows, with the roles `list` (a query, a page view) and `outcome` (whether it was clicked);
            `unit` where lists of one user depend on each other; `position` to see who had the first place.
        first: The old ranker, as the column of teams names it.
        second: The new one.
        roles: What columns mean.
        team: Column that says which ranker picked the item at a place, see `team_draft`.
        margins: How much preference matters, over the defaults in `docs/interleaving.md`.
        alpha: Chance of wrongly preferring the new ranker, and of wrongly not.
        progress: Called with a few words on what is being done.

    Returns:
        A review whose `decision` says which ranker to take on.

    Raises:
        InputError: For unusable input, in one sentence.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> lists, team = np.repeat(np.arange(2000), 4), np.tile(["old", "new", "new", "old"], 2000)
        >>> clicked = rng.random(8000) < np.where(team == "new", 0.12, 0.06)
        >>> log = pl.DataFrame({"query": lists, "team": team, "clicked": clicked})
        >>> known = {"list": "query", "outcome": "clicked"}
        >>> interleaving(log, first="old", second="new", roles=known).decision[:21]
        'Go on with new: 5.4 %'
    """
    say = progress or (lambda _: None)
    preload()
    require_alpha(alpha)
    say("opening the log")
    known = roles if isinstance(roles, Roles) else Roles.from_mapping(roles or {})
    table = open_table(log, name="log")
    for role, what in {"list": "which list a place is of", "outcome": "what was clicked"}.items():
        if getattr(known, role) is None:
            raise InputError(f"Nothing says {what}; name its column with the role {role}.")
    require_roles(known, [table])
    require_kinds(table, known)
    names = _names(table, team, first, second)
    say("adding up clicks")
    notes: list[str] = []
    counted = _counted(table, known, team, names, notes)
    if counted.unit is False:
        notes.append("Lists were taken as independent; name the unit if a user has several.")
    if counted.only_clicked:
        notes.append(
            "The log holds no place without a click, so the fairness of the drafts cannot be looked at, and "
            "lists without a click are missing: the preference is among lists with clicks."
        )
    elif known.position is None:
        notes.append("Name the role position to see whether both rankers had the first place as often.")
    return judge(
        counted,
        margins=margins or {},
        alpha=alpha,
        settings={"roles": known.to_dict(), "team": team},
        rows={"log": table.rows()},
        notes=notes,
        progress=progress,
    )


def judge(
    drafts: Drafts,
    *,
    margins: Mapping[str, float],
    alpha: float,
    settings: Json,
    rows: Json,
    notes: Sequence[str],
    progress: Progress | None = None,
) -> Review:
    """Decide from counted lists.

    Args:
        drafts: The lists.
        margins: The user's margins.
        alpha: Chance of wrongly preferring the new ranker, and of wrongly not.
        settings: Roles and teams, for the record.
        rows: Rows of tables.
        notes: Sentences for the review.
        progress: Called with a few words on what is being done.
    """
    from afterlaunch import __version__
    from afterlaunch.checks.interleaving import CHECK, blocks, estimates

    say = progress or (lambda _: None)
    say("deciding")
    held = Margins(margins)
    found = estimates(drafts)
    held.require_known({CHECK.name: CHECK.kinds}, {CHECK.name: [e.subject for e in found]})
    trust = decide(
        [e for e in found if not e.primary],
        margins=held,
        alpha=DRAFT_ALPHA,
        family="fairness of the drafts",
        step_down=True,
    )
    effects = decide(
        [e for e in found if e.primary], margins=held, alpha=alpha, primary=PRIMARY, family="interleaving review"
    )
    alarms = [f for f in trust if blocks(f.key, f.verdict)]
    broken = max(alarms, key=lambda f: f.excess, default=None)
    if broken is not None:
        effects = [withheld(f, broken, reason="not_trusted", mend="the draft") for f in effects]
    return Review(
        "interleaving",
        (*trust, *effects),
        {**rows, "lists": drafts.lists},
        {
            **settings,
            "margins": dict(margins),
            "alpha": alpha,
            "checks": list(CHECKS),
            "first": drafts.first,
            "second": drafts.second,
        },
        tuple(notes),
        __version__,
        decision=_decision(effects[0], broken, drafts),
    )


def _decision(found: Finding, broken: Finding | None, drafts: Drafts) -> str:
    if broken is not None:
        return f"Not decided: {broken.sentence} {broken.action}"
    if found.verdict is Verdict.OK:
        return f"Go on with {plain(drafts.second)}: {found.sentence}"
    if found.verdict is Verdict.ALARM:
        return f"Keep {plain(drafts.first)}: {found.sentence} A preference that matters is excluded."
    return f"Not decided: {found.sentence} {found.action}"


# ------------------------------------------------------------------ what is counted


def _names(table: Table, team: str, first: Any, second: Any) -> tuple[Any, Any]:
    """Both rankers as the column of teams has them."""
    if team not in table.columns:
        raise InputError(f"The log has no column {team!r} that says which ranker picked an item; name it with team.")
    kind = table.kinds[team]
    if kind not in {"category", "numeric"}:
        raise InputError(
            f"The column {team!r} holds neither text nor numbers; give the name of a ranker for each place."
        )
    wanted = []
    for which, name in (("first", first), ("second", second)):
        value: Any = as_text(name)
        if kind == "numeric":
            try:
                value = float(name)
            except (TypeError, ValueError):
                raise InputError(
                    f"The {which} ranker is {name!r}, but {team!r} holds numbers; give one of its numbers."
                ) from None
        wanted.append(value)
    if wanted[0] == wanted[1]:
        raise InputError(f"The first and the second ranker are both {first!r}; give two.")
    column = nw.col(team)
    one, none = nw.lit(1), nw.lit(0)
    other = (column != wanted[0]) & (column != wanted[1])
    counts, odd = fetch_all(
        [
            table.frame.select(
                nw.when(column == wanted[0]).then(one).otherwise(none).sum().alias("first"),
                nw.when(column == wanted[1]).then(one).otherwise(none).sum().alias("second"),
            ),
            table.frame.filter(other).select(nw.col(team).max().alias("odd"), nw.len().alias("n")),
        ],
        table,
    )
    if odd["n"][0]:
        raise InputError(
            f"The column {team!r} holds {short(odd['odd'][0])} in {odd['n'][0]:,} rows, which is neither {first!r} nor "
            f"{second!r}; leave it empty where neither ranker picked the item."
        )
    for which, name in (("first", first), ("second", second)):
        if not counts[which][0]:
            raise InputError(f"No row of {team!r} is {name!r}, the {which} ranker; check the name.")
    return wanted[0], wanted[1]


def _counted(table: Table, roles: Roles, team: str, names: tuple[Any, Any], notes: list[str]) -> Drafts:
    """Clicks and places of each list, by the engine; then lists by who won them."""
    one, none = nw.lit(1), nw.lit(0)
    columns = {"list": nw.col(str(roles.list)), "team": nw.col(team), "clicks": reward_of(table, roles)}
    if roles.unit is not None:
        columns["unit"] = nw.col(roles.unit)
    if roles.position is not None:
        columns["position"] = nw.col(roles.position).cast(nw.Float64)
    rows = table.frame.select(**columns)
    _require_usable(rows, table, roles, team, notes)
    rows = rows.filter(~nw.col("list").is_null() & ~nw.col("team").is_null())
    rows = rows.with_columns(
        nw.when(nw.col("clicks").is_null()).then(nw.lit(0.0)).otherwise(nw.col("clicks")).alias("clicks")
    )
    sums = []
    for at, name in enumerate(names):
        own = nw.col("team") == name
        sums += [
            nw.when(own).then(nw.col("clicks")).otherwise(nw.lit(0.0)).alias(f"clicks{at}"),
            nw.when(own).then(one).otherwise(none).alias(f"places{at}"),
        ]
        if roles.position is not None:
            top = own & (nw.col("position") == 1)
            sums.append(nw.when(top).then(one).otherwise(none).alias(f"top{at}"))
    added = [
        f"{name}{at}" for at in (0, 1) for name in ("clicks", "places", *(["top"] if "position" in columns else []))
    ]
    unit = [nw.col("unit").min().alias("unit"), nw.col("unit").max().alias("other")] if "unit" in columns else []
    lists = rows.with_columns(*sums).group_by("list").agg(*(nw.col(c).sum() for c in added), *unit)
    lost = nw.when(nw.col("clicks1") < nw.col("clicks0")).then(nw.lit(-1)).otherwise(nw.lit(0))
    sign = nw.when(nw.col("clicks1") > nw.col("clicks0")).then(nw.lit(1)).otherwise(lost)
    larger = [
        nw.when(nw.col(f"places{a}") > nw.col(f"places{b}")).then(one).otherwise(none).alias(f"larger{a}")
        for a, b in ((0, 1), (1, 0))
    ]
    lists = lists.with_columns(sign.alias("sign"), *larger)
    keys = ["sign", *(["unit"] if unit else [])]
    counts = lists.group_by(*keys).agg(nw.len().alias("lists"))
    whole = lists.select(*(nw.col(c).sum() for c in (*added, "larger0", "larger1")))
    asked = [counts, whole]
    if unit:
        torn = nw.col("unit") != nw.col("other")
        asked.append(lists.filter(torn).select(nw.len().alias("n"), nw.col("list").min().alias("list")))
        alone = nw.col("unit").is_null()
        asked.append(lists.select(nw.when(alone).then(one).otherwise(none).sum().alias("n")))
    found = fetch_all(asked, table)
    if unit:
        if found[2]["n"][0]:
            raise InputError(
                f"The list {short(found[2]['list'][0])} is of several units of {roles.unit!r}, as are "
                f"{found[2]['n'][0]:,} lists; give lists of different units different names."
            )
        if found[3]["n"][0]:
            notes.append(f"{found[3]['n'][0]:,} lists are of no unit and were taken as independent.")
    total = found[1].row(0, named=True)
    if found[0].height == 0:
        raise InputError("No row of the log has both a list and a team; give a log of drafted lists.")
    won, lost, tied = _by_unit(found[0], bool(unit))
    clicked_rows = int(_places_with_clicks(rows, table))
    places = (int(total["places0"]), int(total["places1"]))
    return Drafts(
        first=_shown(names[0]),
        second=_shown(names[1]),
        won=won,
        lost=lost,
        tied=tied,
        unit=bool(unit),
        clicks=(float(total["clicks0"]), float(total["clicks1"])),
        places=places,
        larger=(int(total["larger0"]), int(total["larger1"])),
        top=(int(total["top0"]), int(total["top1"])) if "position" in columns else None,
        only_clicked=clicked_rows == sum(places),
    )


def _places_with_clicks(rows: Frame, table: Table) -> int:
    hit = nw.when(nw.col("clicks") > 0).then(nw.lit(1)).otherwise(nw.lit(0))
    return int(fetch(rows.select(hit.sum().alias("n")), table).item() or 0)


def _require_usable(rows: Frame, table: Table, roles: Roles, team: str, notes: list[str]) -> None:
    def count(condition: nw.Expr, name: str) -> nw.Expr:
        return nw.when(condition).then(nw.lit(1)).otherwise(nw.lit(0)).sum().alias(name)

    found = fetch(
        rows.select(
            count(nw.col("clicks") < 0, "negative"),
            nw.col("clicks").min().alias("least"),
            count(nw.col("clicks").is_null(), "none"),
            count(nw.col("list").is_null(), "no_list"),
            count(nw.col("team").is_null(), "no_team"),
            nw.len().alias("rows"),
        ),
        table,
    ).row(0, named=True)
    if found["negative"]:
        raise InputError(
            f"The outcome {roles.outcome!r} of the log is {found['least']!r} in the worst of "
            f"{found['negative']:,} rows below "
            "0; give clicks, or another number of at least 0."
        )
    if found["none"] == found["rows"]:
        raise InputError(f"No row of the log has an outcome in {roles.outcome!r}; give 1 where it was clicked, else 0.")
    if found["none"]:
        notes.append(f"{found['none']:,} places without an outcome were taken as not clicked.")
    if found["no_list"]:
        notes.append(f"{found['no_list']:,} rows are of no list and are left out.")
    if found["no_team"]:
        notes.append(f"{found['no_team']:,} places that neither ranker picked (no {team!r}) are left out.")


def _by_unit(counts: pl.DataFrame, unit: bool) -> tuple[Any, Any, Any]:
    """Lists won, lost and tied by each unit, in the order of their numbers; a list of no unit is one of its own."""
    if not unit:
        by = {int(s): int(n) for s, n in counts.select("sign", "lists").iter_rows()}
        return tuple(np.array([by.get(s, 0)], dtype=np.int64) for s in (1, -1, 0))  # type: ignore[return-value]
    known = counts.filter(pl.col("unit").is_not_null())
    wide = (
        known.group_by("unit")
        .agg(*(pl.col("lists").filter(pl.col("sign") == s).sum().alias(str(s)) for s in (1, -1, 0)))
        .sort("unit")
    )
    alone = {int(s): int(n) for s, n in counts.filter(pl.col("unit").is_null()).select("sign", "lists").iter_rows()}
    parts = []
    for s in (1, -1, 0):
        own = [np.full(alone.get(t, 0), int(s == t), dtype=np.int64) for t in (1, -1, 0)]
        parts.append(np.concatenate([wide[str(s)].to_numpy().astype(np.int64), *own]))
    return parts[0], parts[1], parts[2]


def _shown(name: Any) -> str:
    return f"{name:g}" if isinstance(name, float) else str(name)
