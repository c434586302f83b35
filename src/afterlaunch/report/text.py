"""Words and numbers the way every view shows them."""

from __future__ import annotations

from afterlaunch.finding import Finding, Verdict
from afterlaunch.words import estimate, number, plain, quantity, shorten, unit_of

__all__ = [
    "count",
    "estimate",
    "margin",
    "measured",
    "number",
    "p_value",
    "plain",
    "quantity",
    "reason",
    "scope",
    "shorten",
    "subject",
]

WORDS: dict[Verdict, str] = {Verdict.ALARM: "Alarm", Verdict.UNDECIDED: "Undecided", Verdict.OK: "OK"}
"""The verdict as a reader sees it."""

REASONS: dict[str, str] = {
    "interval_straddles_margin": "The interval straddles the margin.",
    "reference_too_small": "The reference is too small.",
    "units_too_few": "There are too few units.",
    "units_wanted": "There are too few units yet.",
}
"""Reason codes in words; a code that is not listed is shown with its underscores as spaces."""


def measured(finding: Finding) -> str:
    """Effect, interval and margin in one phrase, for a label or a line.

    Example:
        >>> from afterlaunch.finding import Effect
        >>> effect = Effect("PSI", 0.31, 0.25, 0.38, "PSI")
        >>> measured(Finding("drift", "psi", "age", Verdict.ALARM, "", "", effect, margin=0.1))
        'PSI 0.31 [0.25, 0.38], margin 0.1'
    """
    if finding.effect is None:
        return "no estimate"
    held = "" if finding.margin is None else f", margin {margin(finding)}"
    return f"{plain(finding.effect.name)} {estimate(finding.effect, finding.margin)}{held}"


def margin(finding: Finding) -> str:
    """The margin with its unit, signed by the direction that is bad.

    Example:
        >>> from afterlaunch.finding import Effect
        >>> effect = Effect("AUC gap", -0.02, -0.04, -0.01, "AUC")
        >>> margin(Finding("metric", "auc", "", Verdict.OK, "", "", effect, direction="down", margin=0.01))
        '-0.01 AUC'
    """
    if finding.margin is None:
        return "none"
    unit = "" if finding.effect is None else unit_of(finding.effect)
    sign = {"up": "", "down": "-", "both": "±"}[finding.direction]
    if finding.goal == "better":
        sign = {"up": "-", "down": "+"}.get(finding.direction, sign)
    return sign + quantity(finding.margin, unit)


def subject(finding: Finding) -> str:
    """What a finding is about: its subject, else its effect; a name of nothing but blanks in quotes."""
    name = plain(finding.subject)
    return name if name.strip() else repr(name) if name else finding.key


def scope(finding: Finding) -> str:
    """Segment and window of a finding, or an empty string for all rows."""
    parts = [("segment", finding.segment), ("window", finding.window)]
    return ", ".join(f"{word} {plain(text)}" for word, text in parts if text is not None)


def reason(code: str) -> str:
    """A reason code in words.

    Example:
        >>> reason("units_too_few"), reason("no_overlap")
        ('There are too few units.', 'No overlap.')
    """
    if code in REASONS:
        return REASONS[code]
    words = plain(code).replace("_", " ").strip()
    return words[:1].upper() + words[1:] + "."


def p_value(value: float) -> str:
    """A p-value; tiny ones as a bound.

    Example:
        >>> p_value(0.034), p_value(1e-9)
        ('0.034', '< 0.0001')
    """
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def count(number_: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> count(1, "finding"), count(1200, "finding")
        ('1 finding', '1,200 findings')
    """
    return f"{number_:,} {noun}" if number_ == 1 else f"{number_:,} {noun}s"
