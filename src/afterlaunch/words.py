"""Numbers and names as every sentence and every view writes them."""

from __future__ import annotations

import math

from afterlaunch.finding import Effect

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
    if not _has_surrogate(shown):
        return shown
    return "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in shown)


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
    return f"{value:,.0f}" if size >= 999.5 else f"{value:.3g}"


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
    unit = "" if effect.unit == "share" else unit_of(effect)
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


def unit_of(effect: Effect) -> str:
    """The unit, or nothing where it only repeats the name of the effect."""
    return "" if effect.unit.casefold() == effect.name.casefold() else plain(effect.unit)
