"""Words and numbers the way every view shows them."""

from __future__ import annotations

import math

from afterlaunch.finding import Effect, Finding, Verdict

WORDS: dict[Verdict, str] = {Verdict.ALARM: "Alarm", Verdict.UNDECIDED: "Undecided", Verdict.OK: "OK"}
"""The verdict as a reader sees it."""

REASONS: dict[str, str] = {
    "interval_straddles_margin": "The interval straddles the margin.",
    "reference_too_small": "The reference is too small.",
    "units_too_few": "There are too few units.",
}
"""Reason codes in words; a code that is not listed is shown with its underscores as spaces."""

_HIDDEN = {code: 0x2400 + code for code in range(0x20)} | {0x7F: 0x2421}
_HIDDEN |= dict.fromkeys(
    [
        *range(0x80, 0xA0),
        0x200E,
        0x200F,
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0xFFFE,
        0xFFFF,
    ],
    0xFFFD,
)


def plain(text: object) -> str:
    r"""Text with every invisible character made visible, so that a name cannot steer a terminal or a page.

    Control characters become their control pictures; direction overrides, lone surrogates and
    characters that XML forbids become U+FFFD.

    Example:
        >>> plain("a\nb\x1b[31m")
        'a␊b␛[31m'
    """
    shown = str(text).translate(_HIDDEN)
    return shown.encode("utf-8", "replace").decode("utf-8") if _has_surrogate(shown) else shown


def _has_surrogate(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning and an ellipsis when it is longer than `limit` characters.

    Example:
        >>> shorten("temperature", 8)
        'tempera…'
    """
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def number(value: float) -> str:
    """A number at three significant digits, without an exponent for everyday sizes.

    Example:
        >>> number(0.12345), number(1234.5), number(0)
        ('0.123', '1,234', '0')
    """
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e15 or size < 1e-4:
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"


def quantity(value: float, unit: str) -> str:
    """A number with its unit; shares are shown in percent.

    Example:
        >>> quantity(0.05, "share"), quantity(12, "ms")
        ('5 %', '12 ms')
    """
    if unit == "share":
        return f"{number(100 * value)} %"
    return f"{number(value)} {plain(unit)}".rstrip()


def estimate(effect: Effect, margin: float | None = None) -> str:
    """Estimate and interval with as many digits as the interval supports.

    The unit is left out where it only repeats the name of the effect.

    Args:
        effect: What was measured.
        margin: Gives one more digit where rounding would put an end of the interval on the margin.

    Example:
        >>> estimate(Effect("delay", 0.3127, 0.2511, 0.3802, "ms"))
        '0.31 [0.25, 0.38] ms'
        >>> estimate(Effect("share missing", 0.31, 0.25, 0.38, "share"))
        '31 % [25 %, 38 %]'
    """
    scale = 100.0 if effect.unit == "share" else 1.0
    ends = [scale * v for v in (effect.value, effect.low, effect.high)]
    limits = [] if margin is None else [scale * margin, -scale * margin]
    decimals = _decimals(ends, limits)
    suffix = " %" if effect.unit == "share" else ""
    value, low, high = (_fixed(v, decimals) + suffix for v in ends)
    unit = "" if effect.unit == "share" else _unit(effect)
    return f"{value} [{low}, {high}] {unit}".rstrip()


def _decimals(ends: list[float], limits: list[float]) -> int | None:
    """Decimals that show one or two digits of the interval's width; None when an exponent is the better form."""
    width = abs(ends[2] - ends[1])
    if width == 0 or not 1e-6 < width < 1e15 or max(map(abs, ends)) >= 1e15:
        return None
    decimals = max(0, 1 + round(-math.log10(width)))
    for _ in range(3):
        if not any(v != limit and round(v, decimals) == round(limit, decimals) for v in ends[1:] for limit in limits):
            break
        decimals += 1
    return decimals


def _fixed(value: float, decimals: int | None) -> str:
    if decimals is None or (value != 0 and round(value, decimals) == 0):
        return number(value)
    return f"{value:,.{decimals}f}"


def _unit(effect: Effect) -> str:
    return "" if effect.unit.casefold() == effect.name.casefold() else plain(effect.unit)


def measured(finding: Finding) -> str:
    """Effect, interval and margin in one phrase, for a label or a line.

    Example:
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
        >>> effect = Effect("AUC gap", -0.02, -0.04, -0.01, "AUC")
        >>> margin(Finding("metric", "auc", "", Verdict.OK, "", "", effect, direction="down", margin=0.01))
        '-0.01 AUC'
    """
    if finding.margin is None:
        return "none"
    unit = "" if finding.effect is None else _unit(finding.effect)
    sign = {"up": "", "down": "-", "both": "±"}[finding.direction]
    return sign + quantity(finding.margin, unit)


def subject(finding: Finding) -> str:
    """What a finding is about; a name of nothing but blanks in quotes."""
    name = plain(finding.subject)
    return name if name.strip() else repr(name) if name else "whole table"


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
