"""A review as HTML: verdict first, then the worst findings, then everything.

The page loads nothing, runs nothing and uses no style attributes, so it also works under a
strict content security policy. All text of a review goes through `markupsafe`, which escapes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from markupsafe import Markup

from afterlaunch.finding import Finding, Json, Review, Verdict
from afterlaunch.report import text
from afterlaunch.report.charts import figure
from afterlaunch.report.marks import icon, ruler
from afterlaunch.report.style import STYLE

CARDS = 6
"""Most findings shown as cards at the top."""
CHARTS = 60
"""Most charts in one page."""
CHART_BYTES = 380_000
"""Most bytes of charts in one page."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_CELL = 70
_COLUMNS = Markup(
    '<colgroup><col class="al-c1"><col><col class="al-c3"><col class="al-c4"><col class="al-c5"></colgroup>'
)
_HEAD = Markup(
    '<tr><th scope="col">Verdict</th><th scope="col">Subject</th><th scope="col">Effect [interval]</th>'
    '<th scope="col" class="al-wide">Margin</th><th scope="col" class="al-wide">Interval and margin</th></tr>'
)


def page(review: Review) -> str:
    """The review as a self-contained HTML page.

    Example:
        >>> page(Review("launch", ()))[:15]
        '<!doctype html>'
    """
    title = f"{text.WORDS[review.verdict]}: {text.plain(review.question)} review"
    head = Markup(
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="{}"><title>{}</title><style>{}</style>'
    ).format(_POLICY, text.shorten(title, 120), Markup(STYLE))
    body = Markup('<main class="al">{}</main>').format(section(review))
    return str(
        Markup('<!doctype html>\n<html lang="en"><head>{}</head><body class="al-page">{}</body></html>\n').format(
            head, body
        )
    )


def fragment(review: Review, *, charts: int = 24) -> str:
    """The review for a place inside another page, with its style sheet scoped to it.

    Args:
        review: What to show.
        charts: Most charts in it; a notebook keeps its output, so fewer than a page has.
    """
    body = section(review, charts=charts)
    return str(Markup('<div class="al al-notebook"><style>{}</style>{}</div>').format(Markup(STYLE), body))


def section(review: Review, *, charts: int = CHARTS) -> Markup:
    """The review without page and style sheet, for a page that links or inlines `style.STYLE` itself.

    Put it inside an element with the class ``al``. Ids start with a hash of the review, so
    that several reviews fit in one page.
    """
    prefix = "al" + hashlib.sha256(repr((review.question, review.findings)).encode("utf-8", "replace")).hexdigest()[:8]
    figures = _figures(review.findings, prefix, charts)
    parts = [
        _top(review),
        _over_all(review.figures),
        _cards(review.findings),
        _all(review, prefix, figures),
        _notes(review.notes),
        _plain("Rows", review.rows),
        _plain("Settings", review.settings),
        Markup('<footer><p class="al-foot">{}</p></footer>').format(_reading(review.version)),
    ]
    return Markup("").join(parts)


def _reading(version: str) -> str:
    return (
        "Inside the margin: ok. Outside: alarm. Across it: undecided, and more evidence is needed. "
        "The end of an interval that can raise an alarm stands at the shared error rate of its family. "
        f"Made by afterlaunch {text.shorten(text.plain(version), 40)}".rstrip()
        + "."
    )


def _badge(verdict: Verdict) -> Markup:
    return Markup('<span class="al-badge al-{}">{}{}</span>').format(verdict.value, icon(verdict), text.WORDS[verdict])


def _top(review: Review) -> Markup:
    rows = [(k, v) for k, v in review.rows.items() if isinstance(v, int) and not isinstance(v, bool)]
    sizes = Markup("").join(Markup("<li>{}</li>").format(_rows(k, v)) for k, v in rows[:6])
    counted = [f for f in review.findings if f.primary]
    informing = len(review.findings) - len(counted)
    more = Markup("<li>{} more inform</li>").format(f"{informing:,}") if counted and informing else Markup("")
    return Markup(
        '<header class="al-top al-{}"><h1><span class="al-kicker">{} review</span>{}</h1>'
        '<p class="al-headline al-say">{}</p><ul class="al-tally">{}{}</ul></header>'
    ).format(
        review.verdict.value,
        text.shorten(text.plain(review.question), 80).capitalize(),
        _badge(review.verdict),
        _long(review.headline, 600),
        _tally(counted or review.findings) + more,
        sizes,
    )


def _rows(name: str, rows: int) -> Markup:
    plain_name = name.replace("{", "(").replace("}", ")")
    words = "{} have an outcome" if name == "with_outcome" else "{} rows of " + plain_name
    if name.partition(" ")[0] in THINGS:
        words = "{} " + plain_name
    return _long(words.format(f"{rows:,}"), 60)


def _tally(findings: Iterable[Finding]) -> Markup:
    verdicts = [f.verdict for f in findings]
    return Markup("").join(
        Markup('<li class="al-badge al-{}">{}{} {}</li>').format(v.value, icon(v), f"{verdicts.count(v):,}", v.value)
        for v in sorted(set(verdicts), key=lambda v: v.rank)
    )


def _long(words: str, limit: int) -> Markup:
    """Text, or its beginning with the whole text on hovering."""
    shown = text.plain(words)
    if len(shown) <= limit:
        return Markup("<bdi>{}</bdi>").format(shown)
    return Markup('<bdi title="{}">{}</bdi>').format(shown, text.shorten(shown, limit))


def _over_all(tables: Sequence[Json]) -> Markup:
    """Figures about the review as a whole; they are few, and stand outside the budget of charts."""
    if not tables:
        return Markup("")
    title = "Over time" if any(t.get("kind") == "timeline" for t in tables) else "All together"
    return Markup("<section><h2>{}</h2>{}</section>").format(title, Markup("").join(figure(t) for t in tables))


def _cards(findings: Sequence[Finding]) -> Markup:
    bad = [f for f in findings if f.verdict is not Verdict.OK]
    shown = _shown(bad) or list(findings[:3])
    if not shown:
        return Markup("")
    if not bad:
        title, lead = "Closest to their margins", "Nothing is wrong; these come nearest."
    else:
        title = "What is wrong" if bad[0].verdict is Verdict.ALARM else "What is not decided"
        lead = (
            f"The worst {len(shown)} of {text.count(len(bad), 'finding')} that are not ok." if len(bad) > CARDS else ""
        )
    cards = Markup("").join(Markup("<li>{}</li>").format(card(f)) for f in shown)
    said = Markup('<p class="al-lead">{}</p>').format(lead) if lead else ""
    return Markup("<section><h2>{}</h2>{}<ol>{}</ol></section>").format(title, said, cards)


def _shown(bad: Sequence[Finding]) -> list[Finding]:
    """The worst findings that count, then of the checks that only inform the worst of each."""
    shown = [f for f in bad if f.primary][:CARDS]
    seen = {f.check for f in shown}
    for f in bad:
        if len(shown) < CARDS and f.check not in seen:
            seen.add(f.check)
            shown.append(f)
    return shown


def card(finding: Finding) -> Markup:
    """One finding as a card: verdict, sentence, what to do, and the interval against the margin."""
    about = [finding.check, text.scope(finding), "" if finding.primary else "informs only"]
    effect = Markup("")
    if finding.effect is not None:
        effect = Markup('<div class="al-effect"><b>{}</b>{}{}</div>').format(
            text.estimate(finding.effect, finding.margin),
            text.plain(finding.effect.name),
            ruler(finding, width=300, labels=True),
        )
    todo = Markup('<p class="al-do al-say"><b>What to do:</b> {}</p>').format(_long(finding.action, 600))
    return Markup(
        '<article class="al-card al-{}"><div><h3>{}<span class="al-name">{}</span><span class="al-about">{}</span></h3>'
        '<p class="al-say">{}</p>{}</div>{}</article>'
    ).format(
        finding.verdict.value,
        _badge(finding.verdict),
        _long(text.subject(finding), 120),
        _long(" · ".join(text.plain(a) for a in about if a), 160),
        _long(finding.sentence, 600),
        todo if finding.action and finding.verdict is not Verdict.OK else "",
        effect,
    )


def _all(review: Review, prefix: str, figures: Mapping[int, Markup]) -> Markup:
    if not review.findings:
        return Markup("")
    numbered = list(enumerate(review.findings))
    order = {check: at for at, check in reversed([(i, f.check) for i, f in numbered])}
    groups = groupby(sorted(numbered, key=lambda pair: order[pair[1].check]), key=lambda pair: pair[1].check)
    blocks = Markup("").join(_check(check, list(pairs), prefix, figures) for check, pairs in groups)
    lead = "By check, worst first. Open a sentence for the numbers behind it."
    # The heading stands once for the eye, and in every table for whoever does not see the page.
    head = Markup('<table class="al-list" aria-hidden="true">{}<thead>{}</thead></table>').format(_COLUMNS, _HEAD)
    return Markup('<section><h2>All findings</h2><p class="al-lead">{}</p>{}{}</section>').format(lead, head, blocks)


def _check(check: str, pairs: Sequence[tuple[int, Finding]], prefix: str, figures: Mapping[int, Markup]) -> Markup:
    findings = [f for _, f in pairs]
    rows = Markup("").join(_row(i, f, prefix, figures.get(i, Markup(""))) for i, f in pairs)
    opened = Markup(" open") if any(f.verdict is not Verdict.OK for f in findings) else ""
    return Markup(
        '<details class="al-check"{}><summary><h3>{}</h3><ul class="al-tally">{}</ul></summary>'
        '<div class="al-scroll"><table class="al-list"><caption class="al-hide">Findings of the check {}</caption>'
        '{}<thead class="al-hide">{}</thead>{}</table></div></details>'
    ).format(opened, _long(check, 80), _tally(findings), text.shorten(text.plain(check), 80), _COLUMNS, _HEAD, rows)


def _row(index: int, f: Finding, prefix: str, drawn: Markup) -> Markup:
    scope = text.scope(f)
    shown = text.estimate(f.effect, f.margin) if f.effect is not None else "no estimate"
    name = text.plain(f.effect.name) if f.effect is not None else text.reason(f.reason or "")
    sub = Markup('<span class="al-sub">{}</span>')
    return Markup(
        '<tbody><tr class="al-row" id="{}-{}"><td>{}{}</td><th scope="row"><span class="al-name">{}</span>{}</th>'
        '<td>{}{}</td><td class="al-wide">{}</td><td class="al-wide">{}</td></tr>'
        '<tr class="al-more"><td colspan="5"><details><summary class="al-say">{}</summary>'
        '<div class="al-inside">{}{}</div></details></td></tr></tbody>'
    ).format(
        prefix,
        index,
        _badge(f.verdict),
        "" if f.primary else sub.format("informs only"),
        _long(text.subject(f), _CELL),
        sub.format(_long(scope, _CELL)) if scope else "",
        shown,
        sub.format(_long(name, _CELL)),
        text.margin(f),
        ruler(f),
        _long(f.sentence or "No sentence was given.", 400),
        _facts(f),
        drawn,
    )


THINGS = {"units", "items", "windows", "days", "lists"}
"""What a review counts besides rows."""

NULLS = {
    "inside": "that the effect lies inside the margin",
    "better": "that there is no gain",
    "none": "that there is no effect",
}
"""What a p-value is for, by the goal of a finding."""


def _facts(f: Finding) -> Markup:
    e = f.effect
    facts: list[tuple[str, str]] = [("What to do", f.action)]
    if f.reason is not None:
        facts.append(("Why undecided" if f.verdict is Verdict.UNDECIDED else "Reason", text.reason(f.reason)))
    if e is not None:
        bad = {"up": "bad upward", "down": "bad downward", "both": "bad in both directions"}[f.direction]
        facts.append(("Effect", f"{text.plain(e.name)} {text.estimate(e, f.margin)}, {bad}"))
    key = f"{f.check}/{f.key}" + (f"@{f.subject}" if f.subject else "")
    facts.append(("Margin", f"{text.margin(f)}, set it as {text.plain(key)}"))
    if f.n or e is not None:
        facts.append(("Rows", f"{f.n:,}" + ("" if f.sample is None else f", on a sample of {f.sample:,}")))
    if f.rows_needed is not None:
        facts.append(("Rows needed", f"about {f.rows_needed:,}"))
    if f.p_value is not None:
        facts.append(("p-value", f"{text.p_value(f.p_value)}, {NULLS[f.goal]}"))
    share = f"{text.number(f.alpha)}, of which {text.number(f.alpha_each)} here"
    facts.append(("Error rate", share + (f" ({text.plain(f.family)})" if f.family else "")))
    if f.method:
        facts.append(("Method", f.method))
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}</th><td>{}</td></tr>').format(name, _long(words, 400))
        for name, words in facts
        if words
    )
    return Markup('<table class="al-facts"><tbody>{}</tbody></table>').format(rows)


def _figures(findings: Sequence[Finding], prefix: str, most: int) -> dict[int, Markup]:
    """A chart or a remark for every finding that has a table, the worst first, within the budget of the page.

    A distribution is drawn once per subject and set of bins; later findings refer to it.
    """
    drawn: dict[str, int] = {}
    figures: dict[int, Markup] = {}
    left, count = CHART_BYTES, 0
    for index, finding in enumerate(findings):
        if finding.table is None:
            continue
        key = _key(finding, finding.table)
        if key in drawn:
            figures[index] = _remark('Same chart as <a href="#{}-{}">the first finding on it</a>.', prefix, drawn[key])
            continue
        chart = figure(finding.table) if count < most and left > 0 else Markup("")
        if not chart or len(chart) > left:
            figures[index] = _remark("The chart is left out to keep the page small; worse findings have theirs.")
            continue
        drawn[key] = index
        left, count = left - len(chart), count + 1
        figures[index] = chart
    return figures


def _key(finding: Finding, table: Json) -> str:
    if table.get("kind") == "distribution":
        return repr((finding.subject, finding.segment, finding.window, table.get("labels")))
    return repr(table)


def _remark(words: str, *values: object) -> Markup:
    return Markup('<p class="al-lead">{}</p>').format(Markup(words).format(*values))


def _notes(notes: Sequence[str]) -> Markup:
    if not notes:
        return Markup("")
    items = Markup("").join(Markup('<li class="al-say">{}</li>').format(_long(note, 1000)) for note in notes)
    return Markup('<section><h2>Notes</h2><ul class="al-notes">{}</ul></section>').format(items)


def _plain(title: str, data: Json) -> Markup:
    if not data:
        return Markup("")
    return Markup('<section><h2>{}</h2><div class="al-scroll al-plain">{}</div></section>').format(title, _table(data))


def _table(data: Mapping[str, object], depth: int = 0) -> Markup:
    rows = Markup("").join(
        Markup('<tr><th scope="row">{}</th><td>{}</td></tr>').format(_long(key, _CELL), _value(value, depth))
        for key, value in data.items()
    )
    return Markup("<table><tbody>{}</tbody></table>").format(rows)


def _value(value: object, depth: int) -> Markup:
    if isinstance(value, Mapping) and value and depth < 3:
        return _table(value, depth + 1)
    if value is None or (isinstance(value, list | tuple | Mapping) and not value):
        return Markup("none")
    if isinstance(value, bool):
        return Markup("yes" if value else "no")
    if isinstance(value, int | float):
        return Markup("{}").format(f"{value:,}" if isinstance(value, int) else text.number(value))
    if isinstance(value, list | tuple) and not any(isinstance(v, list | tuple | Mapping) for v in value):
        return _long(", ".join(str(v) for v in value), 600)
    return _long(str(value), 600)
