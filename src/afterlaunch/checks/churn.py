"""How many predictions does the new version change, is it for the better, and is it more than a rerun would change?"""

from __future__ import annotations

from afterlaunch.checks.between import by_segment, excess_estimate, few, names_of, replicated
from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.compared import RunPairs
from afterlaunch.stats.churn import net
from afterlaunch.stats.clustered import Share, counted
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.intervals import rows_for
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain, quantity

CHURN = EffectKind(
    "churn",
    "share of predictions changed",
    "share",
    0.1,
    "up",
    "one prediction in ten: what is built upon the model must be looked at again",
)
EXCESS = EffectKind(
    "excess",
    "churn beyond reruns",
    "share",
    0.02,
    "up",
    "two predictions in a hundred that neither seed nor sample explain",
)
NET = EffectKind(
    "net", "wins less losses", "share", 0.01, "down", "one point of accuracy, as for the metric of a launch"
)
LOWER = (
    "Look at the segments moved most before it is released; several seeds averaged, a warm start, or a pull toward "
    "the last model make it less."
)


def run(evidence: Evidence) -> list[Estimate]:
    """Churn, its excess over reruns, wins less losses, and churn by segment, which informs.

    Args:
        evidence: Needs "panel".
    """
    panel = evidence.panel
    if panel is None or panel.rows is None or "churn" not in panel.rows.sums:
        return []
    pairs = panel.rows
    lacking = few("churn", CHURN, pairs, "rows")
    if lacking is not None:
        return [lacking]
    segments = {s: p for s, p in panel.row_segments.items() if p.total}
    if replicated(pairs):
        found = excess_estimate(
            "churn",
            EXCESS,
            pairs,
            "churn",
            what="of the predictions change",
            things="rows",
            action="The new version differs by more than seed and sample: find what changed in its data. " + LOWER,
            title="Churn between runs",
        )
        return [found]
    out = [_churn(pairs, segments)]
    judged = pairs.sums.get("judged")
    if judged is not None and judged.sum() > 0:
        out.append(_net(pairs))
    return out + [_churn(p, {}, name) for name, p in segments.items()]


def _share(pairs: RunPairs) -> Share:
    return counted(pairs.sums["churn"][0], pairs.subjects[0])


def _churn(pairs: RunPairs, segments: dict[str, RunPairs], segment: str | None = None) -> Estimate:
    """Churn of all rows, with a picture of its parts and segments; or of one segment."""
    first, second = names_of(pairs.runs, pairs.baseline)
    found, where = _share(pairs), "" if segment is None else f" in {plain(segment)}"
    parts, table = ("", None) if segment is not None else _parts(pairs, segments)

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return f"{in_words(effect)} of predictions{where} change from {first} to {second}{parts}."

    return Estimate(
        "churn",
        CHURN,
        "",
        found.value,
        found.interval,
        say=say,
        action=LOWER,
        n=pairs.total,
        things="rows that both versions score",
        method="Jeffreys interval of a share" + (", design effect of units" if pairs.clustered else ""),
        rows_needed=found.rows_needed,
        binding="units_too_few",
        p_value=found.p_value,
        primary=segment is None,
        segment=segment,
        table=table,
    )


def _parts(pairs: RunPairs, segments: dict[str, RunPairs]) -> tuple[str, Json]:
    """Wins, losses and neutral changes, in words; and they and the segments as a picture."""
    first, second = names_of(pairs.runs, pairs.baseline)
    words, rows = "", [_row("changed", _share(pairs))]
    judged = pairs.sums.get("judged")
    if judged is not None and judged.sum() > 0:
        sides = {name: counted(pairs.sums[name][0], judged[0]) for name in ("wins", "losses", "neutral")}
        rows += [_row(name, side) for name, side in sides.items()]
        said = [quantity(float(f"{side.value:.3g}"), "share") for side in sides.values()]
        words = f": {said[0]} for the better, {said[1]} for the worse, {said[2]} wrong both times"
    rows += [_row(f"in {plain(s)}", _share(segments[s])) for s, _ in by_segment(_shares(segments))]
    title = f"Predictions from {first} to {second}"
    return words, {"kind": "intervals", "title": title, "unit": "share", "rows": rows}


def _shares(segments: dict[str, RunPairs]) -> dict[str, float]:
    return {name: _share(p).value for name, p in segments.items()}


def _row(name: str, found: Share) -> Json:
    low, high = found.interval(0.025, 0.025)
    return {"name": name, "value": found.value, "low": low, "high": high}


def _net(pairs: RunPairs) -> Estimate:
    first, second = names_of(pairs.runs, pairs.baseline)
    judged = pairs.sums["judged"][0]
    found = net(pairs.sums["wins"][0], pairs.sums["losses"][0], judged)
    wins, losses = (int(pairs.sums[name].sum()) for name in ("wins", "losses"))

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"Wins less losses from {first} to {second} are {in_words(effect)} of rows: {wins:,} wrong before and "
            f"right now, {losses:,} right before and wrong now."
        )

    def needed(margin: float, alpha: float) -> int | None:
        total = float(judged.sum())
        if found.wins.df <= 0 or total <= 0:
            return None
        w, lost = found.wins, found.losses
        each = (w.value + lost.value) / 2

        def shown(rows: float) -> bool:
            same = Share(each * rows, rows, w.deff, w.df), Share(each * rows, rows, lost.deff, lost.df)
            # With 80 % power the estimate lies less than 0.84 standard errors below zero.
            low = type(found)(*same, found.correlation).interval(alpha, alpha)[0]
            return low * 1.5 >= -margin

        return rows_for(shown, 30.0)

    return Estimate(
        "churn",
        NET,
        "",
        found.value,
        found.interval,
        say=say,
        action=f"Keep {first}: {second} gets more rows wrong. Look at the rows that it lost.",
        n=int(judged.sum()),
        things="rows with an outcome",
        method="difference of two dependent shares (MOVER)",
        rows_needed=needed,
        binding="units_too_few",
        p_value=lambda margin: p_beyond(found.interval, margin, "down"),
    )


CHECK = Check(
    name="churn",
    asks="How many predictions does the new version change, and is it more than a rerun would change?",
    kinds=(CHURN, EXCESS, NET),
    needs=frozenset({"panel"}),
    run=run,
)
"""The check, for the registry."""
