"""The HTML page and the notebook fragment."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterlaunch.finding import Effect, Finding, Review, Verdict
from afterlaunch.report import html, notebook
from afterlaunch.report.marks import ruler
from afterlaunch.report.page import CARDS, card, fragment, section
from afterlaunch.report.style import STYLE
from afterlaunch.report.text import plain
from tests.report.reviews import NASTY, bins, finding, large_review, launch_review, nasty_review, reviews

PAGE = frozenset(
    [
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "header",
        "section",
        "footer",
        "article",
        "h1",
        "h2",
        "h3",
        "p",
        "b",
        "a",
        "ul",
        "ol",
        "li",
        "span",
        "bdi",
        "div",
        "details",
        "summary",
        "table",
        "caption",
        "colgroup",
        "col",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "figure",
        "figcaption",
        "svg",
        "g",
        "path",
        "line",
        "rect",
        "circle",
        "text",
    ]
)
VOID = frozenset({"meta", "col"})
# What the HTML parser cannot tell from the elements of the page, since SVG closes its shapes itself.
ATTRIBUTES = frozenset(
    [
        "class",
        "id",
        "lang",
        "charset",
        "name",
        "content",
        "http-equiv",
        "title",
        "scope",
        "colspan",
        "open",
        "href",
        "tabindex",
        "role",
        "aria-label",
        "aria-hidden",
        "viewbox",
        "preserveaspectratio",
        "width",
        "height",
        "d",
        "x",
        "y",
        "x1",
        "x2",
        "y1",
        "y2",
        "cx",
        "cy",
        "r",
        "transform",
        "fill",
        "fill-opacity",
        "stroke",
        "stroke-width",
        "stroke-opacity",
        "stroke-dasharray",
        "opacity",
        "text-anchor",
    ]
)


class Page(HTMLParser):
    """Elements, attributes and text of a page; elements must nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)

    def values(self, key: str) -> list[str]:
        return [value for _, name, value in self.attributes if name == key]


def check_page(text: str) -> Page:
    """What must hold for every page, whatever the review."""
    page = Page(text)
    assert page.open == []
    assert set(page.tags) <= PAGE
    assert {key for _, key, _ in page.attributes} <= ATTRIBUTES
    assert all(href.startswith("#") for href in page.values("href"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.values("href")} <= set(ids)
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    text.encode("utf-8")
    return page


@pytest.fixture(scope="module")
def launch_page() -> str:
    return html(launch_review())


def test_first_words_are_the_verdict_and_what_to_do(launch_page: str) -> None:
    page = check_page(launch_page)
    text = page.text
    assert (
        text.index("Alarm")
        < text.index("Not fine: 100 % of production rows have no duration")
        < text.index("What is wrong")
    )
    assert page.tags.count("h1") == 1
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch(r"h\d", tag)]
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_every_finding_stands_in_the_page(launch_page: str) -> None:
    text = Page(launch_page).text
    for f in launch_review().findings:
        assert f.sentence in text
        assert f.action in text
    for words in (
        "[0.25, 0.38]",
        "5 %",
        "set it as drift/psi@income",
        "about 48,000",
        "on a sample of 10,000",
        "< 0.0001",
    ):
        assert words in text
    assert "No randomised slice." in text
    assert "segment country=DE, window 2026-11-01/2026-11-08" in text


def test_notes_rows_and_settings_stand_in_the_page(launch_page: str) -> None:
    text = Page(launch_page).text
    for words in (*launch_review().notes, "without outcome", "2,984", "p_click", "metric/auc", "none"):
        assert words in text


def test_nothing_is_loaded_or_run(launch_page: str) -> None:
    for text in (launch_page, html(nasty_review())):
        page = check_page(text)
        assert not {"script", "link", "img", "iframe", "object", "form", "base", "use", "image"} & set(page.tags)
        assert page.values("src") == []
        assert page.values("style") == []
        assert "default-src 'none'" in page.values("content")[1]


def test_tables_and_charts_can_be_read_aloud(launch_page: str) -> None:
    page = Page(launch_page)
    scopes = [key for tag, key, _ in page.attributes if tag == "th"]
    assert page.tags.count("th") == scopes.count("scope")
    assert page.tags.count("table") > 5
    hidden_or_named = sum(tag == "svg" and key in {"aria-label", "aria-hidden"} for tag, key, _ in page.attributes)
    assert hidden_or_named == page.tags.count("svg")
    assert ("html", "lang", "en") in page.attributes


def test_verdicts_are_words_as_well_as_colours(launch_page: str) -> None:
    assert launch_page.count('class="al-badge') == launch_page.count('<svg class="al-icon"')
    badges = re.findall(r'class="al-badge al-(\w+)">(.*?)</(?:span|li)>', launch_page)
    assert len(badges) > 20
    for verdict, inside in badges:
        assert verdict in Page(inside).text.lower()


def test_style_has_light_dark_print_and_narrow() -> None:
    assert "@media screen and (prefers-color-scheme:dark)" in STYLE
    assert "@media print" in STYLE
    assert "::details-content" in STYLE
    assert "@media screen and (max-width:760px)" in STYLE
    assert ":focus-visible" in STYLE
    assert STYLE.index("color-scheme:light") < STYLE.index("color-scheme:dark")


def _luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * c for c in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted([_luminance(one), _luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_contrast(theme: str) -> None:
    block = re.search(rf"\.al\{{([^}}]*color-scheme:{theme});?", STYLE)
    assert block is not None
    colours = dict(re.findall(r"--al-([\w-]+):#(\w+)", block[1]))
    for paper in ("paper", "panel"):
        for ink in ("ink", "soft", "link", "c-alarm", "c-undecided", "c-ok"):
            assert _contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
        for mark in ("s1", "s2", "s3", "s4", "s5", "s6", "edge", "focus"):
            assert _contrast(colours[mark], colours[paper]) >= 3, (mark, paper)
    for verdict in ("alarm", "undecided", "ok"):
        assert _contrast(colours[f"c-{verdict}"], colours[f"b-{verdict}"]) >= 4.5
        assert _contrast(colours["ink"], colours[f"b-{verdict}"]) >= 4.5
        assert _contrast(colours["soft"], colours[f"b-{verdict}"]) >= 4.5


def test_every_variable_is_defined(launch_page: str) -> None:
    assert set(re.findall(r"var\((--[\w-]+)\)", launch_page)) <= set(re.findall(r"(--[\w-]+):", STYLE))


def test_names_are_text_wherever_they_stand() -> None:
    page = check_page(html(nasty_review()))
    text = page.text
    for name in NASTY:
        shown = plain(name)
        assert (shown in text) if len(name) < 100 else (shown in page.values("title"))
    # Names are also in the charts, which have elements of their own.
    assert page.tags.count("text") > 50


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(review=reviews())
def test_any_review_gives_a_page_of_known_elements(review: Review) -> None:
    for text in (html(review), notebook(review)):
        page = check_page(text)
        assert plain(review.headline)[:500] in page.text


def test_large_review_stays_below_one_megabyte() -> None:
    text = html(large_review())
    assert len(text.encode()) < 1_000_000
    page = check_page(text)
    assert page.tags.count("figure") >= 30
    assert text.count("column_29") > 10


def test_large_review_leaves_out_the_charts_of_the_best_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    review = large_review(4, 2)
    text = str(section(review, charts=3))
    assert text.count("<figure") == 3
    assert text.count("left out to keep the page small") == 2
    assert text.rindex("<figure") < text.index("left out to keep the page small")
    monkeypatch.setattr("afterlaunch.report.page.CHART_BYTES", 10)
    assert "<figure" not in str(section(review))


def test_one_distribution_per_subject() -> None:
    table = bins(8)
    same = [finding("drift", key, "age", Effect("d", 0.1, 0.0, 0.3, "d"), 0.1, table=table) for key in "abc"]
    other = finding("drift", "d", "age", Effect("d", 0.1, 0.0, 0.3, "d"), 0.1, table=table, segment="DE")
    text = html(Review("drift", (*same, other)))
    assert text.count("<figure") == 2
    assert text.count("Same chart as") == 2
    check_page(text)


def test_cards_are_the_worst_findings() -> None:
    review = large_review(6, 6)
    text = html(review)
    assert text.count("<article") == CARDS
    bad = sum(f.verdict is not Verdict.OK for f in review.findings)
    assert f"The worst {CARDS} of {bad} findings that are not ok." in text


def test_a_review_where_all_is_well_says_so() -> None:
    text = html(Review("drift", tuple(f for f in launch_review().findings if f.verdict is Verdict.OK)))
    page = check_page(text)
    assert "Fine: all" in page.text
    assert "Closest to their margins" in page.text
    assert "What is wrong" not in page.text
    assert page.text.count("What to do:") == 0


def test_a_review_of_undecided_findings_and_an_empty_one() -> None:
    undecided = tuple(f for f in launch_review().findings if f.verdict is Verdict.UNDECIDED)
    assert "What is not decided" in html(Review("launch", undecided))
    assert "Not decided: nothing could be checked." in check_page(html(Review("launch", ()))).text


def test_several_reviews_fit_in_one_page() -> None:
    parts = [fragment(launch_review()), fragment(large_review(2, 2))]
    check_page("<div>" + "".join(parts) + "</div>")


def test_notebook_is_a_scoped_fragment() -> None:
    text = notebook(launch_review())
    page = check_page(text)
    assert text == launch_review()._repr_html_()
    assert text.startswith('<div class="al al-notebook"><style>')
    assert text.endswith("</div>")
    assert not {"html", "head", "body", "main", "meta"} & set(page.tags)
    css = re.sub(r"@media[^{]*\{|@page[^}]*\}", "", STYLE)
    selectors = [s for group in re.findall(r"(?:^|[{}])([^{}]+)\{", css) for s in re.split(r",(?![^(]*\))", group)]
    assert len(selectors) > 100
    assert [
        s for s in selectors if not re.match(r'(\[data-jp-theme-light="\w+"\] |\.vscode-\w+ )?\.al\b', s.strip())
    ] == []


def test_the_unknown_table_is_said_to_have_no_chart() -> None:
    f = finding("drift", "x", "age", Effect("d", 0.1, 0.0, 0.3, "d"), 0.1, table={"kind": "hologram"})
    assert "No chart: its data cannot be drawn." in html(Review("drift", (f,)))


@given(
    ends=st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3).map(sorted),
    margin=st.floats(min_value=1e-300, max_value=1e308),
    direction=st.sampled_from(["up", "down", "both"]),
)
def test_the_ruler_stays_inside_its_box(ends: list[float], margin: float, direction: str) -> None:
    low, value, high = ends
    f = Finding(
        "c", "k", "s", Verdict.OK, "", "", Effect("e", value, low, high, "u"), margin=margin, direction=direction
    )  # type: ignore[arg-type]
    drawn = str(ruler(f, width=300, labels=True))
    dot = re.search(r'cx="([\d.-]+)"', drawn)
    interval = re.search(r'al-range" d="M([\d.-]+) 15H([\d.-]+)"', drawn)
    assert dot is not None
    assert interval is not None
    left, right = float(interval[1]), float(interval[2])
    assert 7.9 <= left <= float(dot[1]) + 0.06 <= right + 0.66 <= 293.3


@pytest.mark.parametrize(("direction", "zone"), [("up", (0, 150)), ("down", (150, 300)), ("both", (79, 221))])
def test_the_ruler_shades_what_lies_inside_the_margin(direction: str, zone: tuple[int, int]) -> None:
    sizes = {"up": (-1.0, 1.0), "down": (-1.0, 1.0), "both": (-1.0, 1.0)}[direction]
    margin = {"up": 1e-9, "down": 1e-9, "both": 0.5}[direction]
    f = Finding(
        "c", "k", "s", Verdict.UNDECIDED, "", "", Effect("e", 0.0, *sizes, "u"), margin=margin, direction=direction
    )  # type: ignore[arg-type]
    found = re.search(r'al-zone" d="M([\d.]+) 0H([\d.]+)', str(ruler(f, width=300)))
    assert found is not None
    assert (round(float(found[1])), round(float(found[2]))) == zone


def test_no_ruler_without_an_effect_or_margin() -> None:
    f = Finding("c", "k", "s", Verdict.UNDECIDED, "", "", None, reason="no_overlap", margin=0.1)
    assert ruler(f) == ""
    assert '<svg class="al-ruler' not in card(f)
    assert ruler(Finding("c", "k", "s", Verdict.OK, "", "", Effect("e", 0, 0, 0, "u"))) == ""
