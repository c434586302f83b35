"""Small hand-built SVG: the icon of a verdict, and the ruler that shows an interval against its margin."""

from __future__ import annotations

from markupsafe import Markup

from afterlaunch.finding import Effect, Finding, Verdict
from afterlaunch.report.text import margin as margin_words
from afterlaunch.report.text import measured, shorten

_SHAPES: dict[Verdict, str] = {
    Verdict.ALARM: '<path d="M8 1 15.5 15H.5Z"/><path class="al-cut" d="M7.1 6h1.8l-.3 4.6H7.4ZM8 11.6a1 1 0 1 1 0 2 1 1 0 0 1 0-2"/>',
    Verdict.UNDECIDED: '<path d="M8 .5 15.5 8 8 15.5.5 8Z"/><path class="al-cut" d="M4 7.1h8v1.8H4Z"/>',
    Verdict.OK: '<circle cx="8" cy="8" r="7.5"/><path class="al-cut" d="m4.2 8.2 1.3-1.3 1.7 1.7 3.5-3.6L12 6.3l-4.8 5Z"/>',
}


def icon(verdict: Verdict) -> Markup:
    """The shape of a verdict: triangle, diamond or disc. Decorative, since the word always stands beside it."""
    return Markup(f'<svg class="al-icon" viewBox="0 0 16 16" aria-hidden="true">{_SHAPES[verdict]}</svg>')


def ruler(finding: Finding, *, width: int = 132, labels: bool = False) -> Markup:
    """An interval and its estimate on a line, over the zone inside the margin.

    Args:
        finding: What to show; without an effect or margin the ruler is empty text.
        width: Width in CSS pixels.
        labels: Whether zero and the margin are written below the line.

    Returns:
        Inline SVG whose colours come from the surrounding style sheet.
    """
    if finding.effect is None or finding.margin is None:
        return Markup("")
    effect, margin = finding.effect, finding.margin
    inside = _zone(finding, margin)
    place = _Scale(effect, inside, margin if finding.goal == "better" else 0.0, finding.direction, width)
    height, middle = (46, 15) if labels else (16, 8)
    bar = middle * 2
    low, high, dot = place(effect.low), place(effect.high), place(effect.value)
    start = 0.0 if inside[0] is None else place(inside[0])
    stop = float(width) if inside[1] is None else place(inside[1])
    borders = [place(v) for v in inside if v is not None]
    if finding.goal == "better":
        borders = [place(margin if finding.direction == "down" else -margin)]
    zero = place(0.0)
    parts = [
        f'<path class="al-zone" d="M{start:.1f} 0H{stop:.1f}V{bar}H{start:.1f}Z"/>',
        f'<path class="al-base" d="M0 {middle}H{width}"/>',
        f'<path class="al-zero" d="M{zero:.1f} 0V{bar}"/>',
        *(f'<path class="al-edge" d="M{x:.1f} 0V{bar}"/>' for x in borders),
        f'<path class="al-range" d="M{low:.1f} {middle}H{max(high, low + 0.5):.1f}"/>',
        f'<circle class="al-dot" cx="{dot:.1f}" cy="{middle}" r="{5 if labels else 3.5}"/>',
    ]
    body = Markup("").join(Markup(p) for p in parts)
    if labels:
        body += _labels(finding, zero, borders, width, bar + 13)
    return Markup(
        '<svg class="al-ruler al-{}" role="img" aria-label="{}" width="{}" height="{}" viewBox="0 0 {} {}">{}</svg>'
    ).format(finding.verdict.value, shorten(measured(finding), 200), width, height, width, height, body)


def _labels(finding: Finding, zero: float, borders: list[float], width: int, y: int) -> Markup:
    """Names of the margin and of zero, left out where they would run into each other."""
    words = "margin " + margin_words(finding)
    at = borders[-1]
    anchor = "start" if at < 70 else "end" if at > width - 70 else "middle"
    left = {"start": at, "end": at - 6.4 * len(words), "middle": at - 3.2 * len(words)}[anchor]
    text = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(f"{at:.1f}", y, anchor, shorten(words, 40))
    if not left - 10 < zero < left + 6.4 * len(words) + 10:
        zero_anchor = "start" if zero < 5 else "end" if zero > width - 5 else "middle"
        text += Markup('<text x="{}" y="{}" text-anchor="{}">0</text>').format(f"{zero:.1f}", y, zero_anchor)
    return text


def _zone(finding: Finding, margin: float) -> tuple[float | None, float | None]:
    """Where an interval must lie to be fine; None where there is no end."""
    if finding.goal == "better":
        return (0.0, None) if finding.direction == "down" else (None, 0.0)
    return {"up": (None, margin), "down": (-margin, None), "both": (-margin, margin)}[finding.direction]


class _Scale:
    """Numbers to pixels, over a range that holds the interval, zero and the margin."""

    def __init__(
        self, effect: Effect, zone: tuple[float | None, float | None], gain: float, direction: str, width: int
    ) -> None:
        inside = [v for v in zone if v is not None] + [gain if direction == "down" else -gain]
        # Halves, so that the range of the largest floats stays finite.
        points = [v / 2 for v in (effect.low, effect.high, effect.value, 0.0, *inside)]
        low, high = min(points), max(points)
        self.low, self.span = low, (high - low) or 1.0
        self.pad, self.width = 8.0, width

    def __call__(self, value: float) -> float:
        return self.pad + (value / 2 - self.low) / self.span * (self.width - 2 * self.pad)
