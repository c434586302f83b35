"""From chart data to figures."""

from __future__ import annotations

import copy
import logging
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from afterlaunch.finding import Json
from afterlaunch.report.charts import figure
from afterlaunch.report.svg import compact
from tests.report.reviews import NASTY, bins, every_table
from tests.report.test_html import Page

BY_KIND = {table["kind"]: table for table in every_table()}


@pytest.mark.parametrize("table", every_table(), ids=lambda table: f"{table['kind']}-{table['title'][:12]}")
def test_every_kind_is_drawn(table: Json, caplog: pytest.LogCaptureFixture) -> None:
    before = copy.deepcopy(table)
    drawn = str(figure(table))
    assert table == before
    assert table["title"] in Page(drawn).text
    assert ('<svg class="al-svg"' in drawn) == (table["kind"] not in {"examples", "timeline"})
    assert caplog.records == []
    assert len(drawn) < 14_000


def test_distribution_shows_both_tables_and_their_shares() -> None:
    drawn = str(figure(BY_KIND["distribution"]))
    categories = every_table()[0]
    drawn = str(figure(categories))
    for label, share in zip(categories["labels"], categories["production"], strict=True):
        assert f"<title>{label}: production {share:.2%}</title>" in drawn
    assert drawn.count('fill="var(--al-s1)"') == drawn.count('fill="var(--al-s2)"') == len(categories["labels"]) + 1
    assert "Reference" in drawn
    assert "Production" in drawn


def test_intervals_show_dots_and_error_bars() -> None:
    drawn = str(figure(BY_KIND["intervals"]))
    assert "<title>mobile: 0.8 [0.78, 0.82]</title>" in drawn
    assert drawn.count('stroke="var(--al-ink)"') == 5


def test_parts_without_an_interval_have_no_error_bar() -> None:
    drawn = str(figure(BY_KIND["parts"]))
    assert drawn.count('stroke="var(--al-ink)"') == 2
    assert "<title>rest: 0.004</title>" in drawn


def test_shares_are_shown_in_percent() -> None:
    drawn = str(figure({**BY_KIND["intervals"], "unit": "share"}))
    assert "<title>mobile: 80 [78, 82]</title>" in drawn
    assert ">%</text>" in drawn


def test_lines_differ_by_dash_as_well_as_colour() -> None:
    reliability = every_table()[4]
    drawn = str(figure(reliability))
    assert "production" in drawn
    assert "reference" in drawn
    assert len(set(re.findall(r'stroke-dasharray="([\d ,]+)"', drawn))) >= 2
    assert "fill-opacity" in drawn or 'opacity="0.16"' in drawn


def test_long_tables_are_cut_and_say_so() -> None:
    names = [f"name {i}" for i in range(200)]
    shares = [1 / 200] * 200
    long: list[tuple[Json, str]] = [
        ({**every_table()[0], "labels": names, "reference": shares, "production": shares}, "first 30 of 200 values"),
        ({**bins(), "labels": names, "reference": shares, "production": shares}, "first 80 of 200 values"),
        (
            {**BY_KIND["parts"], "rows": [{"name": n, "value": 1, "low": 0, "high": 2} for n in names]},
            "first 40 of 200 rows",
        ),
        (
            {**BY_KIND["lines"], "series": [{"name": n, "x": [1, 2], "y": [1, 2]} for n in names]},
            "first 6 of 200 series",
        ),
        ({**BY_KIND["examples"], "columns": ["a"], "rows": [[n] for n in names]}, "first 50 of 200 rows"),
    ]
    for table, words in long:
        assert words in str(figure(table))


def test_long_labels_are_cut_but_stay_apart() -> None:
    labels = ["x" * 10_000, "x" * 9_999, "short", ""]
    drawn = str(figure({**every_table()[0], "labels": labels, "reference": [0.25] * 4, "production": [0.25] * 4}))
    assert f"<title>{'x' * 10_000}</title>" in drawn
    assert "… (2)" in drawn
    assert "(empty)" in drawn


@pytest.mark.parametrize("name", NASTY)
def test_names_in_charts_are_text(name: str) -> None:
    tables: list[Json] = [
        {**every_table()[0], "title": name, "labels": [name, "b"], "reference": [0.5, 0.5], "production": [0.5, 0.5]},
        {**BY_KIND["intervals"], "unit": name, "rows": [{"name": name, "value": 1, "low": 0, "high": 2}]},
        {**BY_KIND["lines"], "x_title": name, "series": [{"name": name, "x": [name, "b"], "y": [1, 2]}]},
        {**BY_KIND["examples"], "columns": [name], "rows": [[name]]},
    ]
    for table in tables:
        page = Page(str(figure(table)))
        assert set(page.tags) <= {
            "figure",
            "figcaption",
            "span",
            "bdi",
            "svg",
            "g",
            "path",
            "line",
            "rect",
            "text",
            "title",
            "div",
            "table",
            "caption",
            "colgroup",
            "col",
            "p",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        }
        assert "No chart" not in page.text


MALFORMED: list[Any] = [
    {},
    {"kind": None},
    {"kind": ["distribution"]},
    {"kind": "pie"},
    {**BY_KIND["distribution"], "production": [0.5]},
    {**BY_KIND["distribution"], "reference": "0.5"},
    {**BY_KIND["distribution"], "labels": [], "reference": [], "production": []},
    {**every_table()[0], "reference": [float("nan"), 0, 0, 0, 0]},
    {**every_table()[0], "reference": [float("inf"), 0, 0, 0, 0]},
    {**every_table()[0], "reference": [10**400, 0, 0, 0, 0]},
    {**every_table()[0], "reference": [True, 0, 0, 0, 0]},
    {**every_table()[0], "title": 3},
    {**BY_KIND["intervals"], "rows": [{"name": "a"}]},
    {**BY_KIND["intervals"], "rows": ["a"]},
    {**BY_KIND["intervals"], "rows": None},
    {**BY_KIND["lines"], "series": [{"name": "a", "x": [1, 2], "y": [1]}]},
    {**BY_KIND["lines"], "series": [{"name": "a", "x": [1, "b"], "y": [1, 2], "low": 3}]},
    {**BY_KIND["lines"], "series": [[1]]},
    {**BY_KIND["examples"], "rows": [[1, 2]]},
    {**BY_KIND["examples"], "rows": [3]},
    {**BY_KIND["timeline"], "windows": []},
    {**BY_KIND["timeline"], "windows": ["one"]},
    {**BY_KIND["timeline"], "title": 3},
    {**BY_KIND["timeline"], "rows": None},
    {**BY_KIND["timeline"], "rows": [["ok"]]},
    {"kind": "timeline", "windows": ["a"], "rows": [{"verdicts": ["fine"]}]},
    {"kind": "timeline", "windows": ["a"], "rows": [{"verdicts": [[1]]}]},
    {"kind": "timeline", "windows": ["a"], "rows": [{"verdicts": ["ok"], "episodes": [{"from": 0, "to": 1}]}]},
    {"kind": "timeline", "windows": ["a"], "rows": [{"verdicts": ["ok"], "episodes": [3]}]},
    {"kind": "timeline", "windows": ["a"], "rows": [{"verdicts": ["ok"], "episodes": 3}]},
]


@pytest.mark.parametrize("table", MALFORMED, ids=range(len(MALFORMED)))
def test_malformed_tables_are_logged_and_said(table: Json, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        drawn = str(figure(table))
    assert "No chart: its data cannot be drawn." in drawn
    assert len(caplog.records) == 1
    assert caplog.records[0].name == "afterlaunch.report.charts"


def test_extreme_numbers_are_drawn() -> None:
    for size in (1e-300, 1e-9, 1e12, 9e299):
        rows = [{"name": "a", "value": size, "low": 0.0, "high": size}]
        assert "<svg" in str(figure({**BY_KIND["intervals"], "rows": rows}))


def test_mixed_text_and_numbers_on_x_are_text() -> None:
    series = [{"name": "a", "x": [1, "two"], "y": [1, 2], "low": None, "high": None}]
    assert ">two</text>" in str(figure({**BY_KIND["lines"], "series": series}))


def test_svg_keeps_known_elements_only() -> None:
    given = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><script>x</script><image href="http://a.example"/>'
        '<g onload="x"><foreignObject><b>x</b></foreignObject><path d="M1.23456,2" onclick="x" style="y"/></g></svg>'
    )
    assert compact(given, "words").endswith('width="10" height="10"><path d="M1.2,2"/></svg>')


def test_forty_charts_take_less_than_six_seconds() -> None:
    figure(bins())
    start = time.perf_counter()
    for i in range(40):
        figure(bins(12, shift=i / 10))
    assert time.perf_counter() - start < 6


def test_importing_the_package_draws_nothing() -> None:
    heavy = ("altair", "vl_convert", "rich", "markupsafe")
    code = f"import sys, afterlaunch.report; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.strip() == "[]"


def test_a_chart_that_the_renderer_refuses_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ValueError("Vega-Lite to Vega conversion failed")

    monkeypatch.setattr("vl_convert.vegalite_to_svg", refuse)
    assert "No chart: its data cannot be drawn." in figure(bins())
    assert "conversion failed" in caplog.text
