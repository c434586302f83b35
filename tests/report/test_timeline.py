"""A review over windows as a picture and as lines in a terminal."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from afterlaunch.finding import Json, Review, Verdict
from afterlaunch.report import html, render
from afterlaunch.report.charts import figure
from afterlaunch.report.timeline import MOST_CELLS, MOST_ROWS, Row, in_words, read, strips, worst_of
from tests.report.reviews import launch_review, nasty_timeline, timeline
from tests.report.test_html import Page, check_page

DAYS = timeline()["windows"]


def drawn(table: Json) -> str:
    return str(figure(table))


def printed(table: Json, width: int = 100, **more: Any) -> str:
    console = Console(file=io.StringIO(), **more)
    render(Review("drift", (), figures=(table,)), console, width=width)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# ------------------------------------------------------------------ the page


def test_the_page_shows_it_before_the_findings() -> None:
    page = html(replace(launch_review(), figures=(timeline(),)))
    check_page(page)
    assert page.index("<h2>Over time</h2>") < page.index("<h2>What is wrong</h2>")
    assert "<h2>Over time</h2>" not in html(launch_review())


def test_every_row_has_a_name_cells_and_words() -> None:
    page = Page(drawn(timeline()))
    for name in ("income (PSI)", "age (Wasserstein distance)", "feature_5 (PSI)"):
        assert name in page.words
    assert "alarm since 2017-09-04" in page.words
    assert "alarm until 2017-09-09" in page.words
    assert any(w.startswith("undecided in ") for w in page.words)
    assert page.words.count("alarm since 2017-09-04") == 2  # beside the cells, and below the name where it is narrow
    aloud = [v for v in page.values("aria-label") if v.startswith("Windows: ")]
    assert len(aloud) == 6
    assert aloud[0].startswith("Windows: 45 alarm, 3 undecided, 12 ok")
    assert aloud[0].endswith("; episodes: since 2017-09-04")


def test_the_budget_is_said() -> None:
    assert "Alarm budget: 1 false episode in 30 days, over 94 courses;" in Page(drawn(timeline())).text
    bare = {**timeline(), "budget": {"episodes": 2, "per_days": 7}}
    assert "Alarm budget: 2 false episodes in 7 days." in Page(drawn(bare)).text
    assert "Alarm budget" not in drawn({**timeline(), "budget": None})


def test_verdicts_differ_in_height_as_well_as_colour() -> None:
    """One window each: the tops of the three boxes differ, and a window without a verdict has none."""
    row = {"name": "a", "verdicts": ["ok", "undecided", "alarm", None], "episodes": []}
    text = drawn({"kind": "timeline", "title": "", "windows": list("abcd"), "rows": [row]})
    body = text[text.index("<tbody>") :]
    boxes = dict(re.findall(r'class="al-lane-(ok|undecided|alarm)" d="M[\d.]+ (\d+)H[\d.]+V16H[\d.]+Z"', body))
    assert boxes == {"alarm": "0", "undecided": "7", "ok": "12"}


def test_neighbours_that_are_alike_are_one_box_where_cells_are_narrow() -> None:
    row = {"name": "a", "verdicts": ["ok"] * 200 + ["alarm"] * 100, "episodes": []}
    text = drawn({"kind": "timeline", "title": "", "windows": [str(i) for i in range(300)], "rows": [row]})
    body = text[text.index("<tbody>") :]
    assert re.findall(r'class="al-lane-ok" d="([^"]*)"', body) == ["M0 12H420V16H0Z"]
    assert re.findall(r'class="al-lane-alarm" d="([^"]*)"', body) == ["M420 0H630V16H420Z"]


def test_an_episode_that_is_not_over_is_open_to_the_right() -> None:
    body = drawn(timeline())
    outlines = re.findall(r'class="al-lane-episode" d="([^"]*)"><title>([^<]*)', body)
    assert [words for _, words in outlines] == ["since 2017-09-04", "2017-09-04 to 2017-09-09"]
    assert [path.endswith("Z") for path, _ in outlines] == [False, True]


def test_a_year_of_thirty_columns_is_small() -> None:
    text = drawn(timeline(365, 30))
    assert len(text.encode()) < 120_000
    assert len(html(replace(launch_review(), figures=(timeline(365, 30),))).encode()) < 300_000
    assert text.count("<text") < 15
    assert ">2017-11</text>" in text


def test_labels_of_the_axis_do_not_meet() -> None:
    for windows in (1, 2, 9, 30, 61, 365, 2000):
        text = drawn(timeline(windows, 2))
        places = [(float(x), word) for x, word in re.findall(r'<text x="([\d.]+)" y="13">([^<]*)</text>', text)]
        assert places
        assert places[0][0] == 0 or len(places[0][1]) == 7  # months begin where they begin
        for (x, word), (other, _) in pairwise(places):
            assert x + 6.2 * len(word) < other


def test_many_windows_share_cells_and_many_rows_are_cut_and_it_is_said() -> None:
    text = Page(drawn(timeline(2 * MOST_CELLS + 1, 2))).text
    assert "A cell is 3 windows, and shows the worst of them." in text
    text = Page(drawn(timeline(9, MOST_ROWS + 5))).text
    assert f"The first {MOST_ROWS} of {MOST_ROWS + 5} rows are shown." in text


def test_one_window_and_no_rows() -> None:
    assert "No chart" not in drawn(timeline(1, 1))
    assert "0 rows over 60 windows" in drawn(timeline(60, 0))


def test_names_of_any_sort_are_text() -> None:
    text = drawn(nasty_timeline())
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert "&lt;script&gt;" in text
    assert not any("x" * 100 in word for word in page.words)
    shown = printed(nasty_timeline(), width=60)
    assert "\u202e" not in shown
    assert "\x1b[31m" not in shown


# ------------------------------------------------------------------ words


@pytest.mark.parametrize(
    ("verdicts", "episodes", "words"),
    [
        ("ok ok", (), "ok throughout"),
        ("ok undecided", (), "undecided in 1 of 2"),
        ("alarm undecided", (), "alarm in 1 of 2"),
        ("none none", (), "no window judged"),
        ("ok alarm", ((1, 1, True),), "alarm since b"),
        ("alarm ok", ((0, 0, False),), "alarm until a"),
        ("alarm alarm", ((0, 0, False), (1, 1, True)), "alarm since b, 1 before"),
    ],
)
def test_a_row_in_words(verdicts: str, episodes: Any, words: str) -> None:
    row = Row("x", tuple(None if v == "none" else Verdict(v) for v in verdicts.split()), episodes)
    assert in_words(row, ["a", "b"]) == words


@given(st.lists(st.sampled_from([None, *Verdict]), max_size=40), st.integers(1, 50))
def test_nothing_bad_is_lost_where_windows_share_a_cell(verdicts: list[Verdict | None], together: int) -> None:
    cells = worst_of(verdicts, together)
    assert len(cells) == -(-len(verdicts) // together)
    assert {v for v in cells if v is Verdict.ALARM} == {v for v in verdicts if v is Verdict.ALARM}
    assert [c is None for c in cells] == [
        all(v is None for v in verdicts[i : i + together]) for i in range(0, len(verdicts), together)
    ]


# ------------------------------------------------------------------ the terminal


def test_the_terminal_shows_what_alarmed_as_blocks() -> None:
    begun = "▒······▒······▒"
    assert printed(timeline(), width=120).splitlines()[3:6] == [
        f"income (PSI)                {begun}{'█' * 45}  alarm since 2017-09-04",
        f"age (Wasserstein distance)  {begun}██████▒······▒· ····▒······▒······▒······▒···  alarm until 2017-09-09",
        f"                            2017-08-20{' ' * 40}2017-10-18",
    ]
    assert "Alarm budget: 1 false episode in 30 days" in printed(timeline())


@pytest.mark.parametrize("width", [40, 60, 80, 100, 200])
def test_lines_fit(width: int) -> None:
    for table in (timeline(), timeline(365, 30), timeline(3, 2), nasty_timeline()):
        assert max(cell_len(line) for line in printed(table, width).splitlines()) <= width


def test_without_an_alarm_what_is_undecided_is_shown() -> None:
    table = timeline()
    calm = {**table, "rows": [{**r, "verdicts": ["ok"] * 59 + ["undecided"]} for r in table["rows"][2:]]}
    assert [s.name for s in strips(read(calm), 60)] == ["feature_2 (PSI)", "feature_3 (PSI)", "feature_4 (PSI)"]
    fine = {**table, "rows": [{**r, "verdicts": ["ok"] * 60} for r in table["rows"][2:]]}
    assert strips(read(fine), 60) == []
    assert "Alarm budget" in printed(fine)


def test_plain_ascii_will_do() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="ascii"), color_system=None)
    render(Review("drift", (), figures=(timeline(),)), console, width=100)
    console.file.flush()
    text = raw.getvalue().decode("ascii")
    assert "####" in text
    assert "income (PSI)" in text


def test_a_malformed_figure_is_left_out_of_the_terminal() -> None:
    assert "Alarm budget" not in printed({**timeline(), "windows": []})
