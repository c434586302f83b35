"""The flow of members between clusters as a picture."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from afterlaunch.finding import Json, Review
from afterlaunch.report import html
from afterlaunch.report.charts import figure
from afterlaunch.report.flow import HEAD, MOST_COLUMNS, MOST_NODES, TALL, read
from tests.report.reviews import launch_review
from tests.report.test_html import Page, check_page


def picture(**more: Any) -> Json:
    return {
        "kind": "flow",
        "title": "Members",
        "columns": ["W1", "W2", "W3"],
        "nodes": [
            [{"name": "old", "size": 60}, {"name": "other", "size": 40}],
            [{"name": "left", "size": 35}, {"name": "right", "size": 25}, {"name": "other", "size": 40}],
            [{"name": "left", "size": 60}, {"name": "other", "size": 40}],
        ],
        "flows": [
            [{"from": 0, "to": 0, "size": 35}, {"from": 0, "to": 1, "size": 25}, {"from": 1, "to": 2, "size": 40}],
            [{"from": 0, "to": 0, "size": 35}, {"from": 1, "to": 0, "size": 25}, {"from": 2, "to": 1, "size": 40}],
        ],
        **more,
    }


def drawn(table: Json) -> str:
    return str(figure(table))


def bars(page: str) -> list[tuple[float, str]]:
    return [(float(h), c) for h, c in re.findall(r'<rect [^>]*height="([\d.]+)" fill="var\(--al-(s\d)\)"', page)]


def test_the_page_holds_it_before_the_findings() -> None:
    page = html(replace(launch_review(), figures=(picture(),)))
    check_page(page)
    assert page.index("<h2>All together</h2>") < page.index("<h2>What is wrong</h2>")
    assert 'class="al-flow"' in page


def test_heights_are_sizes_and_every_name_is_there() -> None:
    page = drawn(picture())
    heights = [h for h, _ in bars(page)]
    assert heights == pytest.approx([TALL * s / 100 for s in (60, 40, 35, 25, 40, 60, 40)], abs=0.06)
    words = Page(page).words
    for name in ("old", "other", "left", "right", "W1", "W2", "W3"):
        assert name in words
    assert page.count("<path") == 6
    assert "<title>old to left: 35</title>" in page


def test_a_cluster_keeps_its_colour_and_a_new_one_has_one_of_its_own() -> None:
    colours = [c for _, c in bars(drawn(picture()))]
    old, other, left, right, still, again, last = colours
    assert left == old == again
    assert other == still == last
    assert right not in {old, other}


def test_it_is_read_aloud() -> None:
    page = Page(drawn(picture()))
    assert any(v == "Members: from 2 in W1 to 2 in W3, 3 columns" for v in page.values("aria-label"))
    assert [w for w in page.words if w in {"From", "To", "Size"}] == ["From", "To", "Size"]


def test_it_stretches_when_there_are_few_columns_and_is_scrolled_when_there_are_many() -> None:
    assert 'width="100%" height' in drawn(picture())
    many = weeks_of(8)
    assert re.search(r'class="al-flow"[^>]* width="\d{3}"', drawn(many))
    page = drawn(weeks_of(MOST_COLUMNS + 5))
    assert f"The last {MOST_COLUMNS} of {MOST_COLUMNS + 5} columns are shown." in page
    assert ">W0<" not in page


def weeks_of(columns: int) -> Json:
    return {
        "kind": "flow",
        "title": "t",
        "columns": [f"W{i}" for i in range(columns)],
        "nodes": [[{"name": "a", "size": 5}]] * columns,
        "flows": [[{"from": 0, "to": 0, "size": 5}]] * (columns - 1),
    }


def test_the_smallest_of_many_nodes_are_one_and_none_is_lost() -> None:
    sizes = list(range(1, 61))
    table = {
        "kind": "flow",
        "title": "t",
        "columns": ["a", "b"],
        "nodes": [[{"name": f"n{s}", "size": s} for s in sizes], [{"name": "all", "size": sum(sizes)}]],
        "flows": [[{"from": i, "to": 0, "size": s} for i, s in enumerate(sizes)]],
    }
    page = drawn(table)
    assert f"{60 - MOST_NODES + 1} smaller ones" in page
    assert f"The {MOST_NODES - 1} largest of a column are shown one by one." in page
    heights = [h for h, _ in bars(page)]
    assert len(heights) == MOST_NODES + 1
    assert sum(heights[:-1]) == pytest.approx(TALL, abs=2)


def test_names_never_stand_on_each_other() -> None:
    table = weeks_of(2)
    table["nodes"] = [[{"name": f"n{i}", "size": 1 if i else 10_000} for i in range(20)]] * 2
    table["flows"] = [[{"from": i, "to": i, "size": 1 if i else 10_000} for i in range(20)]]
    page = drawn(table)
    places = sorted(float(y) for y in re.findall(r'<text x="0%" y="([\d.]+)" fill="var\(--al-ink\)"', page))
    assert len(places) == 20
    assert all(b - a >= 13 for a, b in pairwise(places))
    assert min(places) > HEAD
    assert "Flows of less than" in page


def test_hostile_names_are_harmless() -> None:
    table = weeks_of(2)
    table["nodes"] = [[{"name": '</text><script>alert("x")</script>\u202e\n', "size": 3}]] * 2
    table["columns"] = ["<b>a</b>", "b" * 500]
    table["title"] = '"><script>'
    page = html(Review("clusters", (), figures=(table,)))
    check_page(page)
    assert "<script" not in page


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"columns": ["a"]},
        {"nodes": [[], []]},
        {"nodes": "abc"},
        {"nodes": [[{"name": "x", "size": -1}], [], []]},
        {"flows": [[{"from": 5, "to": 0, "size": 1}], []]},
        {"flows": [[{"from": 0, "to": 0, "size": float("nan")}], []]},
        {"flows": [[{"from": True, "to": 0, "size": 1}], []]},
        {"flows": [3, 4]},
        {"title": 7},
    ],
)
def test_a_malformed_table_is_no_picture_and_no_failure(change: Json) -> None:
    with pytest.raises(ValueError, match=r"flow|node"):
        read(picture(**change))
    assert "No chart" in drawn(picture(**change))


def test_columns_of_nothing_are_drawn() -> None:
    empty = {"kind": "flow", "title": "t", "columns": ["a", "b"], "nodes": [[], []], "flows": [[]]}
    assert "al-flow" in drawn(empty)
    assert "al-flow" in drawn({**weeks_of(1)})


@given(
    st.integers(1, 5).flatmap(
        lambda c: st.lists(st.lists(st.integers(0, 10**9), min_size=0, max_size=30), min_size=c, max_size=c)
    ),
    st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=60)
def test_any_flow_is_drawn_without_a_number_that_is_none(sizes: list[list[int]], random: Any) -> None:
    flows = []
    for i in range(len(sizes) - 1):
        part = []
        for _ in range(20):
            if sizes[i] and sizes[i + 1]:
                a, b = random.randrange(len(sizes[i])), random.randrange(len(sizes[i + 1]))
                if sizes[i][a] and sizes[i + 1][b]:
                    part.append({"from": a, "to": b, "size": random.randrange(1000)})
        flows.append(part)
    nodes = [[{"name": str(k), "size": s} for k, s in enumerate(column)] for column in sizes]
    columns = [str(i) for i in range(len(sizes))]
    page = drawn({"kind": "flow", "title": "t", "columns": columns, "nodes": nodes, "flows": flows})
    assert "al-flow" in page
    assert "nan" not in page
    assert "inf" not in page
