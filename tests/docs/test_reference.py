"""The pages list what the code has: effects with their margins, reasons, settings, roles, limits."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

import afterlaunch as al
from afterlaunch import checks as registry
from afterlaunch import roles_guess
from afterlaunch.checks import availability, drift, gap, leakage, metric, metric_kinds, outcomes, rescore, serving
from afterlaunch.checks import rows as sample_rows
from afterlaunch.checks.places import MOST_POSITIONS
from afterlaunch.config import PREFIX, Config
from afterlaunch.profile import bins, pairs
from afterlaunch.profile.buckets import BUCKETS, MULTIPLIER, SCHEME, VECTORS
from afterlaunch.profile.scores import SCORE_BINS
from afterlaunch.questions import clusters, compare, experiment, gather, interleaving, launch, loop, off_policy, plan
from afterlaunch.questions import drift as drift_question
from afterlaunch.questions import outcomes as outcomes_question
from afterlaunch.roles import Roles
from afterlaunch.stats import association, calibration, examination, intervals
from afterlaunch.stats.distances import LEAST_EXPECTED
from tests.docs.pages import ROOT, code, prose, read, rows, section

SOURCE = ROOT / "src" / "afterlaunch"
LAUNCH, DRIFT, VERDICTS, CONFIGURATION = (f"docs/{n}.md" for n in ("launch", "drift", "verdicts", "configuration"))

CHECK_PAGES = (
    "clusters",
    "concept",
    "domain",
    "experiment",
    "interleaving",
    "lists",
    "loop",
    "novelty",
    "off-policy",
    "performance",
    "seeds",
    "stability",
)
"""Pages besides those of the questions that have tables of effects."""


# ------------------------------------------------------------------ effects


def effects() -> dict[str, dict[str, str]]:
    """Documented effects: "check/key" to the row of its table."""
    found: dict[str, dict[str, str]] = {}
    for page in (LAUNCH, DRIFT, *(f"docs/{n}.md" for n in CHECK_PAGES)):
        for row in rows(prose(page)):
            if "default margin" in row:
                (key,) = code(row["effect"])
                assert key not in found, f"{key} is documented twice"
                found[key] = row
    return found


EFFECTS = effects()
KINDS = {f"{c.name}/{k.key}": k for c in registry.CHECKS.values() for k in c.kinds}


def test_every_effect_is_documented_and_no_other() -> None:
    assert sorted(EFFECTS) == sorted(KINDS)


@pytest.mark.parametrize("key", sorted(KINDS))
def test_effects_are_documented_rightly(key: str) -> None:
    row, kind = EFFECTS[key], KINDS[key]
    assert float(row["default margin"]) == kind.margin
    assert (row["what it is"], row["unit"], row["bad"]) == (kind.name, kind.unit, kind.direction)
    assert row["why that much"]


def test_checks_count_toward_the_verdict_as_documented() -> None:
    listed = {
        code(row["check"])[0]: row["counts toward the verdict"].startswith("yes")
        for row in rows(prose(LAUNCH))
        if "counts toward the verdict" in row
    }
    assert listed == {name: name in launch.PRIMARY for name in launch.CHECKS}
    asked = [q.CHECKS for q in (launch, compare, clusters, experiment, plan, loop, off_policy, interleaving)] + [
        drift_question.FOLLOWED
    ]
    assert {name for names in asked for name in names} == set(registry.CHECKS)
    assert compare.CHECKS == compare.PRIMARY
    assert set(drift_question.CHECKS) <= set(drift_question.FOLLOWED) == set(drift_question.PRIMARY)


def test_metrics_are_listed_with_their_tasks() -> None:
    tasks: dict[str, set[str]] = {}
    for task, metrics in metric_kinds.METRICS.items():
        for one in metrics:
            tasks.setdefault(f"metric/{one.kind}", set()).add(task)
    assert tasks == {key: set(row["task"].split(", ")) for key, row in EFFECTS.items() if key.startswith("metric/")}


def test_metrics_that_inform_say_so() -> None:
    inform = {f"metric/{m.kind}" for metrics in metric_kinds.METRICS.values() for m in metrics if not m.primary}
    rows_of_metrics = {key: row["why that much"] for key, row in EFFECTS.items() if key.startswith("metric/")}
    assert inform == {key for key, why in rows_of_metrics.items() if "informs" in why}
    said = re.search(r"metrics of single segments \((.*?)\)", prose(LAUNCH), re.DOTALL)
    assert said is not None
    assert set(code(said[1])) == metric_kinds.PER_SEGMENT


def test_each_kind_of_column_is_asked_what_is_documented() -> None:
    kinds = {row["kind"]: set(code(row["effects"])) for row in rows(section(DRIFT, "Which columns are compared"))}
    frame = pl.DataFrame({"numeric": [0.5 * i for i in range(50)], "category": ["a", "b"] * 25})
    frame = frame.with_columns(other=pl.lit(datetime(2026, 1, 1)), time=pl.lit(datetime(2026, 1, 1)))  # noqa: DTZ001
    review = al.drift(frame, frame, roles={"time": "time"})
    asked: dict[str, set[str]] = {}
    for finding in review:
        asked.setdefault(finding.subject, set()).add(finding.key)
    assert asked == {"numeric": kinds["numeric"], "category": kinds["category"], "other": kinds["time, other"]}


# ------------------------------------------------------------------ reasons


def reasons() -> Iterator[str]:
    """Every reason code in the source; one that is put together ends in "*"."""
    folders = [*(SOURCE / "checks").glob("*.py"), *(SOURCE / "questions").glob("*.py")]
    for path in [*folders, SOURCE / "decide.py", SOURCE / "report" / "text.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        places = {
            node.name: [a.arg for a in node.args.args].index("reason")
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and "reason" in [a.arg for a in node.args.args]
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword | ast.Assign) and names(node) & {"reason", "reasons", "binding"}:
                yield from codes(node.value)
            elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and is_sentence(node.elts[1]):
                yield from codes(node.elts[0])
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in places:
                at = places[node.func.id]
                yield from codes(node.args[at]) if at < len(node.args) else ()
            elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") in {"REASONS", "REMEDIES"}:
                assert isinstance(node.value, ast.Dict)
                for key in node.value.keys:
                    assert key is not None
                    yield from codes(key)


def codes(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
        yield f"{node.values[0].value}*"
        return
    texts = [p.value for p in ast.walk(node) if isinstance(p, ast.Constant) and isinstance(p.value, str)]
    yield from (text for text in texts if re.fullmatch(r"[a-z]+(_[a-z]+)*", text))


def names(node: ast.keyword | ast.Assign) -> set[str | None]:
    """What a value is given to."""
    return {node.arg} if isinstance(node, ast.keyword) else {getattr(t, "id", None) for t in node.targets}


def is_sentence(node: ast.expr) -> bool:
    """Text of several words that ends like a sentence."""
    parts = [p.value for p in ast.walk(node) if isinstance(p, ast.Constant) and isinstance(p.value, str)]
    return any(" " in part for part in parts) and bool(parts) and "".join(parts).rstrip(")").endswith(".")


def documented_reasons() -> set[str]:
    return {c for row in rows(section(VERDICTS, "`undecided` is a result")) for c in code(row["reason"])}


def test_every_reason_is_documented() -> None:
    found, listed = set(reasons()), documented_reasons()
    assert len(found) > 15
    assert sorted(r for r in found if not any(fits(r, one) for one in listed)) == []
    written = "".join(path.read_text(encoding="utf-8") for path in sorted((SOURCE / "checks").glob("*.py")))
    assert sorted(one for one in listed if not any(fits(r, one) for r in found) and f'"{one}"' not in written) == []


def fits(code_or_start: str, documented: str) -> bool:
    return documented == code_or_start or (
        code_or_start.endswith("*") and documented.startswith(code_or_start.removesuffix("*"))
    )


def test_what_binds_is_known_to_the_first_table() -> None:
    remedies = {row["reason"] for row in rows(section(VERDICTS, "`undecided` is a result")) if "what to do" in row}
    assert {"`reference_too_small`", "`units_too_few`", "`interval_straddles_margin`"} <= remedies


# ------------------------------------------------------------------ settings and roles


def test_every_setting_is_documented_with_its_default() -> None:
    listed = {code(row["key"])[0]: row for row in rows(section(CONFIGURATION, "Keys"))}
    assert list(listed) == list(Config.model_fields) or set(listed) == set(Config.model_fields)
    assert listed["alpha"]["default"] == str(Config().alpha)
    assert listed["k"]["default"] == str(inspect_default_k())
    optional = {name for name, field in Config.model_fields.items() if field.default is None}
    assert {name for name, row in listed.items() if row["default"] in {"none", "guessed", "0.5", "10"}} == optional


def inspect_default_k() -> int:
    return outcomes_question.DEFAULT_K


def test_settings_that_no_command_reads_say_so() -> None:
    listed = {code(row["key"])[0]: row["what it is"] for row in rows(section(CONFIGURATION, "Keys"))}
    questions = ("launch", "drift", "experiment", "loop", "compare", "clusters")
    used = "".join((SOURCE / "cli" / f"{name}.py").read_text(encoding="utf-8") for name in questions)
    unread = {name for name in listed if name not in {"roles", "margins"} and f"known.{name}" not in used}
    assert unread == {name for name, words in listed.items() if "no command reads it yet" in words}


def test_every_role_is_documented() -> None:
    listed = [code(row["role"])[0] for row in rows(section(CONFIGURATION, "Roles"))]
    assert sorted(listed) == sorted(f.name for f in fields(Roles))


def test_roles_named_in_the_launch_page_exist() -> None:
    known = {f.name for f in fields(Roles)}
    named = {c for row in rows(section(LAUNCH, "Roles")) for c in code(row["role"])}
    assert named
    assert named <= known


def test_every_argument_of_the_questions_is_documented() -> None:
    listed = {c for row in rows(section(LAUNCH, "Options")) for c in code(row["Python"])}
    assert listed == set(inspect.signature(al.launch).parameters)
    for argument in inspect.signature(al.drift).parameters:
        assert argument in read(DRIFT)


def test_environment_variables_are_documented() -> None:
    text = section(CONFIGURATION, "Environment")
    assert PREFIX == "AFTERLAUNCH_"
    assert f"`{PREFIX}CONFIG`" in text
    named = {n for n in re.findall(rf"{PREFIX}([A-Z]+)", text) if n != "CONFIG"}
    assert named <= {key.upper() for key in Config.model_fields}


# ------------------------------------------------------------------ numbers in the text


def test_bucket_vectors_are_published() -> None:
    listed = {}
    for row in rows(section(DRIFT, "Rows that depend on each other")):
        (unit,) = re.findall(r"`(.*)`", row["unit"])
        listed[unit] = int(row["bucket"])
    shown = {f'"{unit}"' if isinstance(unit, str) else str(unit): bucket for unit, bucket in VECTORS}
    assert listed == shown


NUMBERS = [
    (DRIFT, f"`{SCHEME}`"),
    (DRIFT, f"· {MULTIPLIER} mod P · {BUCKETS} div P"),
    (DRIFT, f"cut at {len(bins.LEVELS)} quantiles"),
    (DRIFT, f"at most {gather.BIN_ROWS:,} rows drawn with a fixed seed"),
    (DRIFT, f"keep all their values up to {bins.MOST_VALUES:,}; a column with more keeps the {bins.TOP} most frequent"),
    (DRIFT, f"at most {drift.GROUPS} groups of neighbouring bins"),
    (DRIFT, f"fewer than {LEAST_EXPECTED:.0f} rows in the smaller table"),
    (DRIFT, f"at most {drift.CATEGORIES} groups: the most frequent values"),
    (DRIFT, f"rows in fewer than {drift.FEWEST_UNITS} buckets"),
    (DRIFT, f"Fewer than {2 * LEAST_EXPECTED:.0f} values of a column"),
    (LAUNCH, f"at most {outcomes_question.MOST_SEGMENTS} most frequent"),
    (LAUNCH, f"in {SCORE_BINS:,} bins"),
    (LAUNCH, f"at most {calibration.BINS} bins of equal mass"),
    (LAUNCH, f"fewer than {metric.LEAST_RARE} rows of the rarer outcome"),
    (LAUNCH, f"fewer than {metric.LEAST_ROWS} rows (or lists)"),
    (LAUNCH, f"in fewer than {intervals.ENOUGH_GROUPS} of the {BUCKETS} buckets"),
    (LAUNCH, f"mostly default from {100 * availability.MOSTLY:.0f} % on"),
    (LAUNCH, f"a column with more than {sample_rows.MANY_VALUES} different values"),
    (LAUNCH, f"constant from {100 * availability.CONSTANT_FROM:.0f} %"),
    (LAUNCH, f"({100 * availability.ALMOST_ALL:.0f} % for a default)"),
    (LAUNCH, ", ".join(f"`{e}`" for e in availability.TIME_ENDINGS[:-1]) + f" or `{availability.TIME_ENDINGS[-1]}`"),
    (LAUNCH, f"samples of at most {gather.SAMPLE_ROWS:,} rows of each table"),
    (LAUNCH, f"at most {association.MOST_BLOCKS} stretches of time"),
    (LAUNCH, f"power of at least {0.5 + leakage.WORTH} offline"),
    (LAUNCH, f"outcomes of at most {outcomes.MOST_CLASSES} levels"),
    (LAUNCH, f"up to {['zero', 'one', 'two', 'three', 'four', 'five'][pairs.EXAMPLES]} rows that differ"),
    (LAUNCH, f"fewer than {examination.FEWEST_CLICKS} clicks at a place"),
    (LAUNCH, f"At most {MOST_POSITIONS} places and {gather.SAMPLE_ROWS:,} rows"),
    (LAUNCH, f"At most {rescore.MOST_ROWS:,} offline rows are scored"),
    (LAUNCH, f"Up to {serving.MOST_COLUMNS} columns"),
    (LAUNCH, f"rank correlation with it is at least {serving.STANDS_IN}"),
    (LAUNCH, f"one value in {100 * serving.MODAL:.0f} % of production"),
    (LAUNCH, f"at least {100 * serving.MISSING_JUMP:.0f} points of share more rows"),
    (LAUNCH, f"more than {100 * serving.DIFFERENT:.0f} % of the rows found in both tables"),
    (LAUNCH, f"fewer than {rescore.LEAST_ROWS} offline rows with an outcome, or {rescore.LEAST_RARE} of the rarer one"),
    (LAUNCH, f"less than {100 * gap.LEAST_OVERLAP:.0f} % of shared mass"),
    (LAUNCH, f"fewer than {gap.LEAST_EFFECTIVE:.0f} effective rows"),
    (LAUNCH, f"at most {gap.MOST_ROWS:,} rows of each table; fewer than {gap.LEAST_ROWS} with a loss"),
    (VERDICTS, f"fewer than {metric.LEAST_RARE} rows of the rarer outcome"),
    (VERDICTS, f"fewer than {examination.FEWEST_CLICKS} clicks"),
    ("docs/cli.md", f"the first {roles_guess.LOOK:,} rows are looked at"),
    ("README.md", f"at most {gather.BIN_ROWS:,} rows of the reference"),
    ("README.md", f"at most {gather.SAMPLE_ROWS:,} rows of each table"),
    ("README.md", f"more than {bins.MOST_VALUES:,} different values is counted in its {bins.TOP} most frequent"),
]


@pytest.mark.parametrize(("page", "words"), NUMBERS, ids=[f"{p}: {w[:50]}" for p, w in NUMBERS])
def test_numbers_in_the_text_are_those_of_the_code(page: str, words: str) -> None:
    text = " ".join(read(page).replace("**", "").split())
    assert words.replace("**", "") in text


def test_a_steady_column_changes_as_seldom_as_documented() -> None:
    assert sample_rows.Steadiness(0.099, 1.0).steady
    assert not sample_rows.Steadiness(0.101, 1.0).steady
    assert "less than a tenth as often from row to row" in " ".join(read(LAUNCH).split())


# ------------------------------------------------------------------ false alarms


def test_there_is_a_place_for_the_measured_false_alarms() -> None:
    text = read(VERDICTS)
    assert len(re.findall(r"<!-- false-alarms:start -->\n.+?\n<!-- end -->", text, re.DOTALL)) == 1
    for command in re.findall(r"studies/\w+\.py", text):
        assert (ROOT / command).exists()


def test_pages_name_files_that_exist() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for path in re.findall(r"`((?:src|studies|benchmarks|docs)/[\w./-]*)`", page.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{Path(page).name} names {path}"
