"""Reviews to render: one that looks like a real launch, a large one, and any that hypothesis can think of."""

from __future__ import annotations

import datetime as dt
import math
from typing import Any

from hypothesis import strategies as st

from afterlaunch.decide import verdict_of
from afterlaunch.finding import Effect, Finding, Json, Review, Verdict

NASTY = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "{{ 7 * 7 }} {% raw %} ${x} %s",
    "&lt;b&gt; &amp;",
    "😀 Émile 日本語",
    "שלום עולם",
    "rtl \u202eoverride",
    "two\nlines\tand a tab",
    "escape \x1b[31m and nul \x00",
    "lone \udc80 surrogate",
    "[red]markup[/red] [link=http://evil.example]x[/link]",
    "</style></title></svg><h1>out</h1>",
    "http://example.com/?a=1&b=2",
    "",
    " ",
    "x" * 10_000,
)
"""Names that a table may really have."""


def finding(check: str, key: str, subject: str, effect: Effect, margin: float, **more: Any) -> Finding:
    """A finding whose verdict is read off its interval."""
    direction = more.get("direction", "up")
    verdict = verdict_of(effect.low, effect.high, margin, direction)
    more.setdefault("sentence", f"{subject or 'The table'}: {effect.name} is {effect.value:.3g}.")
    more.setdefault("action", "Nothing to do." if verdict is Verdict.OK else "Look at the pipeline of this column.")
    more.setdefault("reason", "interval_straddles_margin" if verdict is Verdict.UNDECIDED else None)
    more.setdefault("n", 21_188)
    more.setdefault("family", "review: 180 effects, weighted Bonferroni")
    more.setdefault("method", "delete-one-bucket jackknife, 64 buckets, t")
    more.setdefault("alpha_each", 0.05 / 180)
    return Finding(check, key, subject, verdict, effect=effect, margin=margin, **more)


def bins(count: int = 12, shift: float = 0.0) -> Json:
    """Chart data of a numeric column."""

    def share(at: float) -> float:
        return math.exp(-((at - count / 2) ** 2) / count)

    reference = [share(i + 0.5) for i in range(count)]
    production = [share(i + 0.5 - shift) for i in range(count)]
    return {
        "kind": "distribution",
        "title": "Share of rows by value",
        "ordered": True,
        "labels": [f"[{10 * i}, {10 * (i + 1)})" for i in range(count)],
        "reference": [v / sum(reference) for v in reference],
        "production": [v / sum(production) for v in production],
    }


def timeline(windows: int = 60, rows: int = 6) -> Json:
    """A review over days: some rows alarm and recover, one still alarms, the others are ok or undecided."""
    days = [str(dt.date(2017, 8, 20) + dt.timedelta(i)) for i in range(windows)]
    drawn = []
    for r in range(rows):
        verdicts: list[str | None] = [["ok", "undecided"][(i * (r + 3)) % 7 == 0] for i in range(windows)]
        verdicts[windows // 2] = None
        episodes = []
        if r < 2:
            first, last = windows // 4, windows - 1 if r == 0 else windows // 3
            verdicts[first : last + 1] = ["alarm"] * (last + 1 - first)
            episodes.append({"from": first, "to": last, "open": r == 0})
        name = ["income (PSI)", "age (Wasserstein distance)"][r] if r < 2 else f"feature_{r} (PSI)"
        values = [None if v is None else 0.1 for v in verdicts]
        drawn.append({"name": name, "unit": "PSI", "verdicts": verdicts, "values": values, "episodes": episodes})
    spent = "1 false episode in 30 days, over 94 courses; error rates of looks at windows: 0.00011 for 1 at a time"
    return {
        "kind": "timeline",
        "title": "Every window",
        "windows": days,
        "rows": drawn,
        "budget": {"episodes": 1.0, "per_days": 30, "spent": spent},
    }


def every_table() -> list[Json]:
    """One table of every kind."""
    categories = ["mobile", "desktop", "tablet", "smart television set", "other"]
    reliability = {"name": "production", "x": [0.05, 0.2, 0.4, 0.6, 0.9], "y": [0.06, 0.18, 0.33, 0.5, 0.74]}
    days = [f"2026-11-{day:02}" for day in range(1, 15)]
    return [
        {
            "kind": "distribution",
            "title": "Share of rows by device",
            "labels": categories,
            "reference": [0.5, 0.3, 0.1, 0.06, 0.04],
            "production": [0.3, 0.45, 0.12, 0.08, 0.05],
        },
        bins(),
        {
            "kind": "intervals",
            "title": "AUC by segment",
            "unit": "AUC",
            "rows": [
                {"name": c, "value": 0.8 - i / 50, "low": 0.78 - i / 50, "high": 0.82 - i / 50}
                for i, c in enumerate(categories)
            ],
        },
        {
            "kind": "parts",
            "title": "What explains the gap",
            "unit": "AUC",
            "rows": [
                {"name": "duration unavailable", "value": -0.08, "low": -0.09, "high": -0.07},
                {"name": "rank skewed", "value": -0.02, "low": -0.03, "high": -0.01},
                {"name": "rest", "value": 0.004, "low": None, "high": None},
            ],
        },
        {
            "kind": "lines",
            "title": "Reliability",
            "x_title": "predicted probability",
            "y_title": "observed share",
            "diagonal": True,
            "series": [
                {**reliability, "low": [0.04, 0.15, 0.29, 0.45, 0.7], "high": [0.08, 0.21, 0.37, 0.55, 0.78]},
                {
                    "name": "reference",
                    "x": reliability["x"],
                    "y": [0.05, 0.2, 0.41, 0.59, 0.9],
                    "low": None,
                    "high": None,
                },
            ],
        },
        {
            "kind": "lines",
            "title": "Effective number of items",
            "x_title": "day",
            "y_title": "items",
            "series": [
                {
                    "name": "catalogue",
                    "x": days,
                    "y": [900.0 - 14 * i for i in range(13)] + [None],
                    "low": None,
                    "high": None,
                }
            ],
        },
        {
            "kind": "examples",
            "title": "Queries unlike any in the reference",
            "columns": ["query", "count", "nearest"],
            "rows": [["black friday tv deal", 120, "tv"], ["gpu msrp", 44, None], ["<b>bold</b>", 3, 0.25]],
        },
        timeline(),
    ]


def launch_review() -> Review:
    """A launch that went wrong in the usual ways."""
    share = "share"
    tables = every_table()
    ok = [
        finding("drift", "psi", f"feature_{i}", Effect("PSI", 0.01, 0.0, 0.03, "PSI"), 0.1, table=bins(shift=0.3))
        for i in range(9)
    ]
    return Review(
        question="launch",
        version="0.1.0",
        rows={"reference": 20_000, "production": 21_188, "joined": {"outcomes": 18_204, "without outcome": 2_984}},
        settings={
            "alpha": 0.05,
            "roles": {"id": "request_id", "score": "p_click", "outcome": "clicked", "position": "rank"},
            "margins": {"metric/auc": 0.01},
            "segments": [],
            "predict": None,
        },
        notes=(
            "2,984 production rows have no outcome yet; metrics use the others.",
            "Examples rest on a sample of 10,000 rows.",
        ),
        findings=(
            finding(
                "availability",
                "missing",
                "duration",
                Effect("excess share missing", 1.0, 0.9995, 1.0, share),
                0.05,
                sentence="100 % of production rows have no duration, against 0 % in the reference.",
                action="Fill duration at serving time, or retrain without it: it is known only after the click.",
                p_value=1e-300,
                table={
                    **tables[0],
                    "title": "Present and missing",
                    "labels": ["present", "missing"],
                    "reference": [1.0, 0.0],
                    "production": [0.0, 1.0],
                },
            ),
            finding(
                "metric",
                "auc",
                "AUC",
                Effect("AUC, production minus reference", -0.1134, -0.1289, -0.0985, "AUC"),
                0.01,
                direction="down",
                sentence="AUC is 0.113 lower in production (0.671) than on the reference (0.784).",
                action="Start with the columns below that explain the gap.",
                p_value=1e-40,
                table=tables[3],
            ),
            finding(
                "leakage",
                "single",
                "duration",
                Effect("AUC of one column alone", 0.431, 0.42, 0.44, "AUC above 0.5"),
                0.3,
                sentence="duration alone ranks the outcome with an AUC of 0.931 offline, and with 0.5 in production.",
                action="Treat duration as a leak, and retrain without it.",
                table=tables[2],
            ),
            finding(
                "skew",
                "mismatch",
                "country",
                Effect("share of rows that differ", 0.12, 0.109, 0.131, share),
                0.01,
                table=tables[0],
            ),
            finding(
                "drift",
                "psi",
                "income",
                Effect("PSI", 0.31, 0.25, 0.38, "PSI"),
                0.1,
                table=bins(shift=1.8),
                p_value=2e-7,
            ),
            finding("drift", "ks", "income", Effect("KS distance", 0.21, 0.18, 0.25, "KS"), 0.1, table=bins(shift=1.8)),
            finding(
                "drift",
                "psi",
                "age",
                Effect("PSI", 0.08, 0.03, 0.14, "PSI"),
                0.1,
                table=bins(shift=0.9),
                rows_needed=48_000,
                p_value=0.4,
            ),
            finding(
                "drift",
                "psi",
                "p_click",
                Effect("PSI", 0.04, 0.02, 0.07, "PSI"),
                0.1,
                table=bins(shift=0.6),
                segment="country=DE",
                window="2026-11-01/2026-11-08",
            ),
            finding(
                "calibration",
                "gap",
                "p_click",
                Effect("calibration error", 0.07, 0.05, 0.09, share),
                0.02,
                table=tables[4],
            ),
            finding(
                "novelty",
                "excess",
                "query",
                Effect("excess novel share", 0.035, 0.021, 0.05, share),
                0.02,
                table=tables[6],
                sample=10_000,
            ),
            finding(
                "loop",
                "items",
                "catalogue",
                Effect("trend of effective items", -14.0, -19.0, -9.5, "items a day"),
                20.0,
                direction="both",
                table=tables[5],
                primary=False,
            ),
            Finding(
                "position",
                "effect",
                "rank",
                Verdict.UNDECIDED,
                "Whether rank drives the clicks cannot be told: no slice of the traffic is randomised.",
                "Randomise the order for about 1 % of requests.",
                None,
                reason="no_randomised_slice",
                margin=0.1,
                primary=False,
            ),
            *ok,
        ),
    )


def large_review(columns: int = 30, each: int = 6) -> Review:
    """Every column with several findings, all with charts."""
    findings = []
    for c in range(columns):
        for k in range(each):
            value = 0.02 * (c % 9) + 0.01 * k
            effect = Effect(f"distance {k}", value, max(0.0, value - 0.04), value + 0.04, "PSI")
            sentence = f"column_{c:02} moved by {value:.2f} in measure {k}, from the reference to the last seven days."
            table = bins(20, shift=value * 10 + k / 10)
            findings.append(
                finding("drift", f"d{k}", f"column_{c:02}", effect, 0.1, sentence=sentence, table=table, p_value=0.01)
            )
    return Review("drift", tuple(findings), rows={"reference": 10**6, "production": 10**6}, version="0.1.0")


def nasty_timeline() -> Json:
    """Nasty names for rows and windows."""
    table = timeline(len(NASTY), len(NASTY))
    rows = [{**row, "name": name} for row, name in zip(table["rows"], NASTY, strict=True)]
    return {**table, "title": NASTY[0], "windows": list(NASTY), "rows": rows, "budget": {"spent": NASTY[1]}}


def nasty_review() -> Review:
    """Every nasty name in every place that takes text."""
    findings = []
    for i, name in enumerate(NASTY):
        tables: list[Json | None] = [
            {
                "kind": "distribution",
                "title": name,
                "labels": [name, "b"],
                "reference": [0.5, 0.5],
                "production": [0.1, 0.9],
            },
            {
                "kind": "distribution",
                "title": name,
                "labels": [name, name + "2"],
                "ordered": True,
                "reference": [0.5, 0.5],
                "production": [0.1, 0.9],
            },
            {
                "kind": "intervals",
                "title": name,
                "unit": name,
                "rows": [{"name": name, "value": 1, "low": 0, "high": 2}],
            },
            {
                "kind": "lines",
                "title": name,
                "x_title": name,
                "y_title": name,
                "series": [{"name": name, "x": [name, "z"], "y": [1, 2], "low": None, "high": None}],
            },
            {"kind": "examples", "title": name, "columns": [name], "rows": [[name]]},
        ]
        effect = Effect(name, 0.3, 0.2, 0.4, name)
        for table in [tables[i % 5], tables[(i + 1) % 5]]:
            findings.append(
                finding(
                    name or "check",
                    name,
                    name,
                    effect,
                    0.1,
                    sentence=f"{name} moved.",
                    action=f"Look at {name}.",
                    segment=name,
                    window=name,
                    family=name,
                    method=name,
                    table=table,
                )
            )
    return Review(
        "launch",
        tuple(findings),
        rows=dict.fromkeys(NASTY, 1),
        settings={n: [n, {n: n}] for n in NASTY},
        notes=NASTY,
        version=NASTY[0],
        figures=(nasty_timeline(),),
    )


_text = st.one_of(st.sampled_from(NASTY[:-1]), st.text(max_size=20))
_real = st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | _real | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=6,
)
_objects = st.dictionaries(_text, _json, max_size=3)


@st.composite
def _effects(draw: st.DrawFn) -> Effect:
    low, value, high = sorted(draw(st.tuples(_real, _real, _real)))
    return Effect(draw(_text), value, low, high, draw(st.just("share") | _text))


@st.composite
def findings(draw: st.DrawFn) -> Finding:
    """Any finding, with charts from the examples."""
    effect = draw(st.none() | _effects())
    verdict = Verdict.UNDECIDED if effect is None else draw(st.sampled_from(Verdict))
    return Finding(
        check=draw(st.sampled_from(["drift", "metric"]) | _text),
        key=draw(_text),
        subject=draw(_text),
        verdict=verdict,
        sentence=draw(_text),
        action=draw(_text),
        effect=effect,
        reason="no_overlap" if effect is None else draw(st.none() | st.just("units_too_few")),
        direction=draw(st.sampled_from(["up", "down", "both"])),
        margin=draw(st.none() | st.floats(min_value=1e-9, max_value=1e300)),
        primary=draw(st.booleans()),
        segment=draw(st.none() | _text),
        window=draw(st.none() | _text),
        alpha=draw(st.floats(min_value=0.001, max_value=0.4)),
        alpha_each=draw(st.floats(min_value=1e-9, max_value=0.4)),
        family=draw(_text),
        method=draw(_text),
        n=draw(st.integers(min_value=0, max_value=10**12)),
        p_value=draw(st.none() | st.floats(min_value=0, max_value=1)),
        rows_needed=draw(st.none() | st.integers(min_value=0, max_value=10**12)),
        sample=draw(st.none() | st.integers(min_value=0, max_value=10**9)),
        table=draw(st.none() | st.sampled_from(every_table()) | st.just({"kind": "unknown", "more": 1})),
    )


@st.composite
def _timelines(draw: st.DrawFn) -> Json:
    """Any timeline."""
    windows = draw(st.lists(_text, min_size=1, max_size=5))
    size = len(windows)
    verdict = st.sampled_from(["ok", "undecided", "alarm", None])
    ends = st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).map(sorted)
    episode = st.builds(lambda ends, still: {"from": ends[0], "to": ends[1], "open": still}, ends, st.booleans())
    row = st.fixed_dictionaries(
        {
            "name": _text,
            "verdicts": st.lists(verdict, min_size=size, max_size=size),
            "episodes": st.lists(episode, max_size=2),
        }
    )
    rows = draw(st.lists(row, max_size=3))
    return {
        "kind": "timeline",
        "title": draw(_text),
        "windows": windows,
        "rows": rows,
        "budget": draw(_json | st.fixed_dictionaries({"spent": _text})),
    }


def reviews() -> st.SearchStrategy[Review]:
    """Any review."""
    return st.builds(
        Review,
        question=_text,
        findings=st.lists(findings(), max_size=4).map(tuple),
        rows=_objects,
        settings=_objects,
        notes=st.lists(_text, max_size=3).map(tuple),
        version=_text,
        figures=st.lists(_timelines() | st.sampled_from(every_table()) | _objects, max_size=2).map(tuple),
    )
