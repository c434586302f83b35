"""Which of two rankers do users prefer, when every list they see is drafted from both?"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from afterlaunch.checks.evidence import Check, Evidence
from afterlaunch.decide import EffectKind, Estimate
from afterlaunch.finding import Effect, Json, Verdict
from afterlaunch.profile.logged import Drafts
from afterlaunch.stats.contrast import p_beyond
from afterlaunch.stats.interleaving import Preference, preference
from afterlaunch.stats.intervals import normal_quantile, rows_for, share
from afterlaunch.words import estimate as in_words
from afterlaunch.words import plain

PREFERENCE = EffectKind(
    "preference",
    "share of lists won by the new ranker beyond one half",
    "share",
    0.01,
    "down",
    "one list in a hundred that turns from the old ranker to the new: for fewer nobody changes a ranker",
)
DRAFT = EffectKind(
    "draft",
    "share of lists drafted in favour of the new ranker beyond one half",
    "share",
    0.01,
    "both",
    "a fair coin drafts: any deviation beyond chance is an alarm, within one point it is known to be small",
)

LEAST_DECIDED = 10
"""Lists with a winner below which nothing is said."""


def run(evidence: Evidence) -> list[Estimate]:
    """Which ranker users prefer, and whether the drafts were fair.

    Args:
        evidence: Needs "drafts".
    """
    return [] if evidence.drafts is None else estimates(evidence.drafts)


def estimates(drafts: Drafts) -> list[Estimate]:
    """Estimates of the preference, and of the fairness of the drafts.

    Args:
        drafts: Lists by unit; at least one list.

    Returns:
        "preference"; and "draft" of the larger team and, with positions, of the first place, unless the log has only
        places that were clicked.
    """
    out = [_preference(drafts)]
    if not drafts.only_clicked:
        out.append(_draft(drafts, "larger team", "the larger team", drafts.larger))
        if drafts.top is not None:
            out.append(_draft(drafts, "first place", "the first place", drafts.top))
    return out


def _preference(drafts: Drafts) -> Estimate:
    found = _found(drafts)
    second = plain(drafts.second)
    decided = found.wins + found.losses
    lists = f"{drafts.lists:,} list{'' if drafts.lists == 1 else 's'}"
    if decided < LEAST_DECIDED or found.df <= 0:
        few = found.df <= 0 and decided >= LEAST_DECIDED
        sentence = f"All {lists} are of one unit, which says nothing about others."
        if not few:
            have = "has" if decided == 1 else "have"
            sentence = (
                f"Of {lists} only {decided} {have} more clicks for one ranker than for the other; "
                f"{LEAST_DECIDED} are the least to go by."
            )
        return Estimate(
            "interleaving",
            PREFERENCE,
            "",
            None,
            reason="units_too_few" if few else "too_few_outcomes",
            sentence=sentence,
            action="Wait for more units." if few else "Wait for more lists with clicks.",
            n=drafts.lists,
            goal="better",
            things="lists",
        )

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} beyond one half is the share of lists that {second} wins against "
            f"{plain(drafts.first)}: of {lists} it has more clicks in {found.wins:,}, fewer in {found.losses:,}, "
            f"and as many in {found.ties:,}."
        )

    def needed(margin: float, alpha: float) -> int | None:
        power = normal_quantile(0.2)

        def decides(n: float) -> bool:
            return (normal_quantile(alpha) + power) * found.se * math.sqrt(drafts.lists / n) <= margin

        return rows_for(decides, drafts.lists) if math.isfinite(found.se) else None

    return Estimate(
        "interleaving",
        PREFERENCE,
        "",
        found.value,
        found.interval,
        say=say,
        action=f"Keep {plain(drafts.first)}: a preference that matters is excluded.",
        n=drafts.lists,
        method="share of lists won, a tie being half a win; "
        + ("dependent by unit" if drafts.unit else "lists independent"),
        rows_needed=needed,
        p_value=lambda margin: p_beyond(found.interval, 0.0, "up"),
        binding="units_too_few",
        things="lists",
        goal="better",
        table=_table(drafts, found),
    )


def _found(drafts: Drafts) -> Preference:
    """The preference for the second ranker."""
    size = np.stack([drafts.won, drafts.lost, drafts.tied])
    outcome = np.repeat(np.repeat([1, 2, 0], size.shape[1]), size.ravel())
    units = np.repeat(np.tile(np.arange(size.shape[1]), 3), size.ravel())
    return preference(outcome == 1, outcome == 2, groups=units if drafts.unit else None)


def _table(drafts: Drafts, found: Preference) -> Json:
    won = (found.losses, found.wins)
    rows = [
        [plain(name), f"{won[i]:,}", f"{drafts.clicks[i]:,.0f}", f"{drafts.places[i]:,}"]
        for i, name in enumerate((drafts.first, drafts.second))
    ]
    return {
        "kind": "examples",
        "title": "What each ranker won",
        "columns": ["ranker", "lists won", "clicks", "places"],
        "rows": rows,
    }


def _draft(drafts: Drafts, subject: str, what: str, counts: tuple[int, int]) -> Estimate:
    """A coin that should be fair, once for each list."""
    tossed, second = sum(counts), plain(drafts.second)
    if not tossed:
        return Estimate(
            "interleaving",
            DRAFT,
            subject,
            None,
            reason="no_drafts",
            sentence=f"No list has {'teams of unequal size' if subject == 'larger team' else 'a first place'}, "
            "so there is no "
            "coin to look at.",
            action="Nothing is wrong with that where lists are of even length."
            if subject == "larger team"
            else "See that positions count from 1, and that each list is logged from its first place on.",
            n=drafts.lists,
            primary=False,
            goal="none",
            may_alarm=False,
            things="lists",
        )

    def interval(low: float, high: float) -> tuple[float, float]:
        ends = share(counts[1], tossed, low, high)
        return ends.low - 0.5, ends.high - 0.5

    def say(effect: Effect, verdict: Verdict) -> str:
        del verdict
        return (
            f"{in_words(effect)} beyond one half is the share of lists that give {what} to {second}: "
            f"{counts[1]:,} of {tossed:,}, where a fair coin decides."
        )

    return Estimate(
        "interleaving",
        DRAFT,
        subject,
        counts[1] / tossed - 0.5,
        interval,
        say=say,
        action="Find where the draft is not a fair coin, or where places are lost on the way to the log; then "
        "count again.",
        n=tossed,
        method="binomial",
        rows_needed=partial(_tosses, tossed),
        p_value=_two_sided(interval),
        primary=False,
        goal="none",
        things="lists",
    )


def _tosses(tossed: int, margin: float, alpha: float) -> int | None:
    power = normal_quantile(0.1)
    return rows_for(lambda n: (normal_quantile(alpha) + power) * 0.5 / math.sqrt(n) <= margin, tossed)


def _two_sided(interval: Callable[[float, float], tuple[float, float]]) -> Callable[[float], float]:
    def p_value(margin: float) -> float:
        del margin
        return min(1.0, 2 * min(p_beyond(interval, 0.0, "up"), p_beyond(interval, 0.0, "down")))

    return p_value


def blocks(key: str, verdict: Verdict) -> bool:
    """Whether a finding of this check forbids to judge the preference."""
    return key == DRAFT.key and verdict is Verdict.ALARM


CHECK = Check(
    name="interleaving",
    asks="Which of two rankers do users prefer, when every list they see is drafted from both?",
    kinds=(PREFERENCE, DRAFT),
    needs=frozenset({"drafts"}),
    run=run,
)
"""The check, for the registry."""
