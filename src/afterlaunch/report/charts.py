"""From the `table` of a finding to a figure.

`Finding.table` is a dict with a "kind"; checks emit one of these, views draw it:

``{"kind": "distribution", "title": str, "labels": [str], "reference": [share], "production": [share]}``
    Two distributions over the same categories; with ``"ordered": true`` the labels are
    bins of a number and stand side by side instead of below each other. ``"names": [str, str]``
    says what the two are, in place of "Reference" and "Production".
``{"kind": "intervals", "title": str, "unit": str, "rows": [{"name": str, "value": x, "low": x, "high": x}]}``
    Estimates with their intervals, one a row.
``{"kind": "parts", "title": str, "unit": str, "rows": [...]}``
    The same rows as signed bars from zero, such as contributions to a gap.
``{"kind": "lines", "title": str, "x_title": str, "y_title": str, "series": [...]}``
    Each series is ``{"name": str, "x": [...], "y": [...], "low": [...] | null, "high": [...] | null}``
    with x all numbers or all text; ``"diagonal": true`` adds the line y = x.
``{"kind": "examples", "title": str, "columns": [str], "rows": [[...]]}``
    Rows to read; drawn as a table.
``{"kind": "timeline", ...}``
    A review over windows, see `report.timeline`.
``{"kind": "flow", ...}``
    Members that go from cluster to cluster, see `report.flow`.

In intervals, parts and lines, `low` and `high` may be null where there is no interval, and
`y` may be null where a line has a gap. The unit "share" is shown in percent. Long tables are
cut: 30 categories, 80 bins, 40 rows (60 of a timeline), 6 series, 50 examples; the figure says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from afterlaunch.finding import Json
from afterlaunch.report.flow import flow
from afterlaunch.report.svg import compact
from afterlaunch.report.text import plain, shorten
from afterlaunch.report.timeline import timeline

logger = logging.getLogger(__name__)

MOST_CATEGORIES, MOST_BINS, MOST_ROWS, MOST_SERIES, MOST_EXAMPLES = 30, 80, 40, 6, 50
WIDTH = 440
DASHES: tuple[tuple[int, ...], ...] = ((), (6, 3), (2, 2), (8, 3, 2, 3), (1, 3), (12, 4))
"""Dash patterns that tell series apart without their colours."""

_COLOURS = tuple(f"var(--al-s{number})" for number in range(1, MOST_SERIES + 1))
_REFERENCE, _PRODUCTION = _COLOURS[:2]
_INK, _SOFT, _GRID = "var(--al-ink)", "var(--al-soft)", "var(--al-grid)"


class _Malformed(ValueError):
    """The table does not have the form of its kind."""


def figure(table: Json) -> Markup:
    """Draw the table of a finding.

    A table of an unknown kind or a malformed one gives a figure that says there is no chart;
    what was wrong with it goes to the log of this module.

    Args:
        table: See the description of this module.

    Returns:
        A `<figure>` for inline use; its colours come from the surrounding style sheet.
    """
    try:
        kind = table["kind"]
        draw = _KINDS.get(kind) if isinstance(kind, str) else None
        if draw is None:
            raise _Malformed(f"unknown kind {kind!r}")
        body, note, legend = draw(table)
        title = _text(table, "title")
    except (_Malformed, KeyError, TypeError) as error:
        logger.warning("A chart was left out, because its table is malformed: %s", error)
        return _missing()
    except ValueError as error:
        # vl-convert and Altair raise ValueError (and subclasses) for a specification they refuse.
        logger.warning("A chart was left out, because it could not be drawn: %s", error)
        return _missing()
    caption = Markup("<figcaption><bdi>{}</bdi>{}{}</figcaption>").format(
        shorten(title, 160), legend, Markup('<span class="al-cutoff">{}</span>').format(note) if note else ""
    )
    return Markup('<figure class="al-figure">{}{}</figure>').format(caption, body)


def _missing() -> Markup:
    return Markup('<figure class="al-figure"><figcaption>No chart: its data cannot be drawn.</figcaption></figure>')


_Drawn = tuple[Markup, str, Markup]


def _distribution(table: Json) -> _Drawn:
    import altair as alt

    labels = [plain(v) for v in _list(table, "labels")]
    shares = {key: _numbers(table, key, len(labels)) for key in ("reference", "production")}
    ordered = table.get("ordered") is True
    names = [shorten(plain(n), 40) for n in table.get("names", ("reference", "production"))]
    if len(names) != 2:
        raise _Malformed("a distribution has two names")
    most = MOST_BINS if ordered else MOST_CATEGORIES
    shown, full = _labels(labels[:most])
    rows = [
        {"label": label, "table": key, "share": values[i], "say": f"{full.get(label, label)}: {name} {values[i]:.2%}"}
        for i, label in enumerate(shown)
        for name, (key, values) in zip(names, shares.items(), strict=True)
    ]
    share_axis = alt.Axis(format="~%", tickCount=5)
    colour = alt.Color("table:N", legend=None, scale=alt.Scale(domain=list(shares), range=[_REFERENCE, _PRODUCTION]))
    bars = alt.Chart(alt.InlineData(values=rows)).mark_bar()
    if ordered:
        step = max(5.0, min(34.0, WIDTH / max(1, len(shown))))
        axis = alt.Axis(labelAngle=-35 if max(map(len, shown), default=0) > 3 else 0, labelOverlap="greedy")
        drawn = bars.encode(
            x=alt.X("label:N", sort=None, title=None, axis=axis, scale=alt.Scale(paddingInner=0.16, paddingOuter=0.1)),
            xOffset=alt.XOffset("table:N", sort=None),
            y=alt.Y("share:Q", title=None, axis=share_axis),
            color=colour,
            description="say:N",
        ).properties(width=step * max(1, len(shown)), height=150)
    else:
        drawn = bars.encode(
            y=alt.Y("label:N", sort=None, title=None, scale=alt.Scale(paddingInner=0.24, paddingOuter=0.12)),
            yOffset=alt.YOffset("table:N", sort=None),
            x=alt.X("share:Q", title=None, axis=share_axis),
            color=colour,
            description="say:N",
        ).properties(width=WIDTH - 120, height=22 * max(1, len(shown)))
    legend = _legend(
        [(n[0].upper() + n[1:] if n else n, c, ()) for n, c in zip(names, (_REFERENCE, _PRODUCTION), strict=True)],
        lines=False,
    )
    words = f"{_text(table, 'title')}: shares of {names[0]} and {names[1]} over {len(labels)} values"
    return _svg(drawn, words, full), _cut(len(labels), most, "values"), legend


def _intervals(table: Json) -> _Drawn:
    return _rows_chart(table, bars=False)


def _parts(table: Json) -> _Drawn:
    return _rows_chart(table, bars=True)


def _rows_chart(table: Json, *, bars: bool) -> _Drawn:
    import altair as alt

    given = _list(table, "rows")
    if not all(isinstance(row, Mapping) for row in given):
        raise _Malformed("a row is not a dict")
    unit = _text(table, "unit")
    scale = 100.0 if unit == "share" else 1.0
    shown, full = _labels([plain(row["name"]) for row in given[:MOST_ROWS]])
    rows: list[Json] = []
    for label, row in zip(shown, given, strict=False):
        value = scale * _number(row["value"])
        ends = {key: None if row.get(key) is None else scale * _number(row[key]) for key in ("low", "high")}
        interval = "" if None in ends.values() else f" [{ends['low']:.4g}, {ends['high']:.4g}]"
        rows.append({"label": label, "value": value, **ends, "say": f"{full.get(label, label)}: {value:.4g}{interval}"})
    title = "%" if unit == "share" else shorten(plain(unit), 40) or None
    y = alt.Y("label:N", sort=None, title=None)
    x = alt.X("value:Q", title=title, axis=alt.Axis(tickCount=5), scale=alt.Scale(zero=bars, padding=8))
    base = alt.Chart().encode(y=y)
    error = base.mark_rule(color=_INK, strokeWidth=1.5, aria=False).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    error = error.transform_filter("isValid(datum.low) && isValid(datum.high)")
    if bars:
        mark = base.mark_bar(color=_REFERENCE, opacity=0.75, height={"band": 0.62})
    else:
        mark = base.mark_point(color=_REFERENCE, filled=True, opacity=1, size=55)
    layers: list[Any] = [mark.encode(x=x, description="say:N"), error]
    if any(row["value"] < 0 or (row["low"] or 0) < 0 for row in rows):
        zero = (
            alt.Chart(alt.InlineData(values=[{"value": 0}]))
            .mark_rule(color=_SOFT, strokeWidth=1, aria=False)
            .encode(x=x)
        )
        layers.insert(0, zero)
    drawn = alt.layer(*layers, data=alt.InlineData(values=rows)).properties(
        width=WIDTH - 120, height=22 * max(1, len(rows))
    )
    words = f"{_text(table, 'title')}: {len(given)} estimates with intervals" + (f", in {plain(unit)}" if unit else "")
    return _svg(drawn, words, full), _cut(len(given), MOST_ROWS, "rows"), Markup("")


def _lines(table: Json) -> _Drawn:
    import altair as alt

    given = _list(table, "series")
    if not all(isinstance(series, Mapping) for series in given):
        raise _Malformed("a series is not a dict")
    all_x = [x for series in given[:MOST_SERIES] for x in _list(series, "x")]
    numeric = not any(isinstance(x, str) for x in all_x)
    names, _ = _labels([plain(_text(series, "name")) for series in given[:MOST_SERIES]])
    known, full = _labels(list(dict.fromkeys(plain(x) for x in all_x))) if not numeric else ([], {})
    label_of = dict(zip(dict.fromkeys(plain(x) for x in all_x), known, strict=False))
    rows: list[Json] = []
    for name, series in zip(names, given, strict=False):
        xs = [_number(x) if numeric else label_of[plain(x)] for x in _list(series, "x")]
        curves = {key: _curve(series, key, len(xs)) for key in ("y", "low", "high")}
        rows += [
            {"name": name, "x": x, "y": y, "low": low, "high": high, "say": f"{name}, {x}: {y}"}
            for x, y, low, high in zip(xs, curves["y"], curves["low"], curves["high"], strict=True)
        ]
    x_title, y_title = (shorten(plain(_text(table, key)), 60) or None for key in ("x_title", "y_title"))
    if numeric:
        x: Any = alt.X("x:Q", title=x_title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6, grid=False))
    else:
        axis = alt.Axis(labelAngle=-35 if max(map(len, known), default=0) > 4 else 0, labelOverlap="greedy")
        x = alt.X("x:O", title=x_title, sort=known, axis=axis)
    scale: dict[str, Any] = {"domain": names, "range": list(_COLOURS[: len(names)])}
    colour = alt.Color("name:N", legend=None, scale=alt.Scale(**scale))
    dash = alt.StrokeDash(
        "name:N", legend=None, scale=alt.Scale(domain=names, range=[list(d) for d in DASHES][: len(names)])
    )
    y = alt.Y("y:Q", title=y_title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    base = alt.Chart().encode(x=x, color=colour)
    band = base.mark_area(opacity=0.16, aria=False).encode(y=alt.Y("low:Q", title=y_title), y2="high:Q")
    line = base.mark_line(strokeWidth=1.8, aria=False).encode(y=y, strokeDash=dash)
    layers: list[Any] = [band, line]
    if len(rows) <= 60:
        layers.append(base.mark_point(filled=True, size=22, opacity=1).encode(y=y, description="say:N"))
    if table.get("diagonal") is True and numeric and rows:
        ends = [0.0, 1.0] if all(0 <= v <= 1 for v in all_x) else [min(all_x), max(all_x)]
        ideal = alt.Chart(alt.InlineData(values=[{"x": v, "y": v} for v in ends]))
        layers.insert(0, ideal.mark_line(color=_SOFT, strokeDash=[3, 3], strokeWidth=1, aria=False).encode(x=x, y=y))
    drawn = alt.layer(*layers, data=alt.InlineData(values=rows)).properties(width=WIDTH - 60, height=190)
    words = f"{_text(table, 'title')}: {y_title or 'value'} over {x_title or 'x'} for {', '.join(names)}"
    legend = _legend(list(zip(names, _COLOURS, DASHES, strict=False)), lines=True)
    return _svg(drawn, words, full), _cut(len(given), MOST_SERIES, "series"), legend


def _examples(table: Json) -> _Drawn:
    columns, rows = _list(table, "columns"), _list(table, "rows")
    if not all(isinstance(row, list | tuple) and len(row) == len(columns) for row in rows):
        raise _Malformed("a row has another number of cells than there are columns")
    head = Markup("").join(Markup('<th scope="col"><bdi>{}</bdi></th>').format(shorten(plain(c), 60)) for c in columns)
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(Markup("").join(_cell(value) for value in row)) for row in rows[:MOST_EXAMPLES]
    )
    box = '<div class="al-scroll" tabindex="0" role="region" aria-label="{}"><table class="al-grid">{}{}</table></div>'
    title = shorten(_text(table, "title"), 160) or "Examples"
    drawn = Markup(box).format(
        title, Markup("<thead><tr>{}</tr></thead>").format(head), Markup("<tbody>{}</tbody>").format(body)
    )
    return drawn, _cut(len(rows), MOST_EXAMPLES, "rows"), Markup("")


def _cell(value: object) -> Markup:
    text = "" if value is None else plain(value)
    if len(text) > 160:
        return Markup('<td title="{}"><bdi>{}</bdi></td>').format(shorten(text, 4000), shorten(text, 160))
    return Markup("<td><bdi>{}</bdi></td>").format(text)


_KINDS = {
    "distribution": _distribution,
    "intervals": _intervals,
    "parts": _parts,
    "lines": _lines,
    "examples": _examples,
    "timeline": timeline,
    "flow": flow,
}


def _svg(chart: Any, words: str, full: Mapping[str, str]) -> Markup:
    import vl_convert

    axis = {
        **{"domainColor": _GRID, "tickColor": _GRID, "gridColor": _GRID, "labelColor": _SOFT, "titleColor": _SOFT},
        **{
            "ticks": False,
            "domain": False,
            "labelPadding": 5,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "labelLimit": 0,
            "titlePadding": 6,
        },
    }
    ready = (
        chart.configure(background="transparent", aria=True, padding={"left": 10, "right": 6, "top": 5, "bottom": 2})
        .configure_view(stroke=None)
        .configure_axis(**axis)
    )
    return Markup(compact(vl_convert.vegalite_to_svg(ready.to_dict(), allowed_base_urls=[]), shorten(words, 300), full))


def _legend(entries: Iterable[tuple[str, str, Sequence[int]]], *, lines: bool) -> Markup:
    """Keys of the colours, as text beside small swatches."""
    keys = Markup("").join(
        Markup(
            '<span class="al-key"><svg viewBox="0 0 22 10" width="22" height="10" aria-hidden="true">{}</svg>{}</span>'
        ).format(
            Markup('<path d="M0 5H22" stroke="{}" stroke-width="2.5" stroke-dasharray="{}"/>').format(
                colour, " ".join(map(str, dash))
            )
            if lines
            else Markup('<path d="M5 0h12v10H5Z" fill="{}"/>').format(colour),
            name,
        )
        for name, colour, dash in entries
    )
    return Markup('<span class="al-legend">{}</span>').format(keys)


def _labels(names: Sequence[str], limit: int = 22) -> tuple[list[str], dict[str, str]]:
    """Short and distinct labels, and the whole text behind each that was changed."""
    shown: list[str] = []
    seen: set[str] = set()
    full: dict[str, str] = {}
    for name in names:
        label, copy = shorten(name, limit) or "(empty)", 1
        while label in seen:
            copy += 1
            label = f"{shorten(name, limit - 4) or '(empty)'} ({copy})"
        seen.add(label)
        shown.append(label)
        if label != name:
            full[label] = shorten(name, 10_000)
    return shown, full


def _cut(size: int, most: int, noun: str) -> str:
    return f"The first {most} of {size:,} {noun} are shown." if size > most else ""


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key, "")
    if not isinstance(value, str):
        raise _Malformed(f"{key!r} is not text")
    return plain(value)


def _list(table: Mapping[str, Any], key: str) -> list[Any]:
    value = table[key]
    if not isinstance(value, list | tuple) or not value:
        raise _Malformed(f"{key!r} is not a list with something in it")
    return list(value)


def _number(value: object) -> float:
    # Beyond this size the scales of Vega overflow; NaN is not smaller than anything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
        raise _Malformed(f"{value!r:.40} is not a number that can be drawn")
    return float(value)


def _numbers(table: Mapping[str, Any], key: str, size: int) -> list[float]:
    values = [_number(v) for v in _list(table, key)]
    if len(values) != size:
        raise _Malformed(f"{key!r} has {len(values)} numbers for {size} labels")
    return values


def _curve(series: Mapping[str, Any], key: str, size: int) -> list[float | None]:
    given = series["y"] if key == "y" else series.get(key)
    if given is None:
        return [None] * size
    values = [None if v is None else _number(v) for v in _list(series, key)]
    if len(values) != size:
        raise _Malformed(f"{key!r} of a series has {len(values)} numbers for {size} of x")
    return values
