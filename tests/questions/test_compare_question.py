"""Comparing versions from end to end: forms of panels, replicates, units, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.finding import Finding, Review, Verdict

ROLES = {"version": "version", "id": "row", "score": "p", "outcome": "y"}
ROWS = 4_000


def rows(n: int = ROWS, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=n)
    y = (truth + rng.normal(size=n) > 0).astype(int)
    return pl.DataFrame({"row": np.arange(n), "y": y, "truth": truth, "user": np.arange(n) // 20})


def scored(table: pl.DataFrame, version: str, noise: float, seed: int, shift: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-(table["truth"].to_numpy() + shift + noise * rng.normal(size=table.height))))
    return table.drop("truth").with_columns(version=pl.lit(version), p=pl.Series(p))


def panel(noise: float = 0.1, n: int = ROWS) -> pl.DataFrame:
    table = rows(n)
    return pl.concat([scored(table, "W46", noise, 1), scored(table, "W47", noise, 2)])


def compare(table: Any, **more: Any) -> Review:
    return al.compare(table, **{"baseline": "W46", "candidate": "W47", "roles": ROLES, **more})


def named(review: Review) -> dict[str, Finding]:
    return {f.id: f for f in review}


def test_a_long_panel_is_compared_row_by_row() -> None:
    found = named(compare(panel()))
    assert list(found) == list(dict.fromkeys(found))
    assert {"churn/churn", "churn/net", "scores/shift", "scores/disorder"} <= set(found)
    assert found["churn/churn"].verdict is Verdict.OK
    assert found["scores/disorder"].verdict is Verdict.OK
    wide_apart = named(compare(panel(noise=1.5)))
    assert wide_apart["churn/churn"].verdict is Verdict.ALARM
    assert wide_apart["scores/disorder"].verdict is Verdict.ALARM


def test_the_numbers_are_those_of_a_few_lines_of_numpy() -> None:
    table = panel(noise=0.5)
    found = named(compare(table))
    a, b = (table.filter(pl.col("version") == v).sort("row") for v in ("W46", "W47"))
    said = [(t["p"] >= 0.5).cast(pl.Int64) for t in (a, b)]
    churn, net, shift = (found[i].effect for i in ("churn/churn", "churn/net", "scores/shift"))
    assert churn is not None
    assert net is not None
    assert shift is not None
    assert churn.value == pytest.approx((said[0] != said[1]).mean())
    assert net.value == pytest.approx((said[1] == b["y"]).mean() - (said[0] == a["y"]).mean())
    assert shift.value == pytest.approx((b["p"].mean() - a["p"].mean()) / a["p"].std(ddof=0), rel=1e-6)


def test_a_wide_panel_says_what_a_long_one_says() -> None:
    table = panel()
    wide = table.filter(pl.col("version") == "W46").join(
        table.filter(pl.col("version") == "W47").select("row", q="p"), on="row"
    )
    long = named(compare(table))
    other = named(al.compare(wide, baseline="p", candidate="q", roles={"outcome": "y"}))
    for name in ("churn/churn", "churn/net", "scores/shift"):
        one, two = long[name].effect, other[name].effect
        assert one is not None
        assert two is not None
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))


def test_wide_replicates_are_columns() -> None:
    table = rows()
    columns = {f"{v}{s}": scored(table, v, 0.3, 10 * i + s)["p"] for i, v in enumerate("ab") for s in range(10)}
    found = named(
        al.compare(
            table.with_columns(**columns),
            baseline=[c for c in columns if c[0] == "a"],
            candidate=[c for c in columns if c[0] == "b"],
            roles={"outcome": "y"},
        )
    )
    assert found["churn/excess"].verdict is Verdict.OK
    assert found["scores/excess"].verdict is Verdict.OK


def replicated(shift: float, seeds: int = 12) -> pl.DataFrame:
    table = rows()
    parts = [
        scored(table, v, 0.3, 100 * i + s, shift if v == "W47" else 0.0).with_columns(seed=pl.lit(s))
        for i, v in enumerate(("W46", "W47"))
        for s in range(seeds)
    ]
    return pl.concat(parts)


def test_seed_noise_is_no_change_and_a_change_is_more_than_seed_noise() -> None:
    still = named(compare(replicated(0.0), replicates="seed"))
    assert still["churn/excess"].verdict is Verdict.OK
    assert "more of the predictions change from W46 to W47 than between reruns" in still["churn/excess"].sentence
    moved = named(compare(replicated(1.0), replicates="seed"))
    assert moved["churn/excess"].verdict is Verdict.ALARM
    assert moved["scores/shift"].verdict is Verdict.ALARM


def test_few_replicates_are_said() -> None:
    two = named(compare(replicated(0.0, seeds=2), replicates="seed"))["churn/excess"]
    assert (two.verdict, two.reason) == (Verdict.UNDECIDED, "too_few_replicates")
    assert "2 and 2 runs of W46 and W47" in two.sentence
    five = named(compare(replicated(0.0, seeds=5), replicates="seed"))["churn/excess"]
    assert "with 5 and 5 runs that floor is itself uncertain" in five.sentence
    one = compare(replicated(0.0, seeds=1), replicates="seed")
    assert any("only one run of each version" in note for note in one.notes)
    assert "churn/churn" in named(one)


def test_rows_of_a_user_are_not_taken_as_independent() -> None:
    table = panel(noise=0.5).with_columns(
        p=pl.when((pl.col("version") == "W47") & (pl.col("user") % 11 == 0))
        .then(1 - pl.col("p"))
        .otherwise(pl.col("p"))
    )
    alone, units = (named(compare(table, roles=r))["churn/churn"].effect for r in (ROLES, {**ROLES, "unit": "user"}))
    assert alone is not None
    assert units is not None
    assert units.value == alone.value
    assert units.high - units.low > 1.5 * (alone.high - alone.low)


def test_a_log_of_other_rows_is_compared_by_its_distributions() -> None:
    table = panel()
    log = table.filter((pl.col("row") % 2 == 0) == (pl.col("version") == "W46"))
    review = compare(log)
    assert {f.check for f in review} == {"drift"}
    assert {f.subject for f in review} == {"p"}
    assert any("rows could not be compared one by one" in note for note in review.notes)
    assert review.rows == {"baseline": ROWS // 2, "candidate": ROWS // 2}


def test_rows_of_one_version_only_are_said_and_too_many_leave_it_undecided() -> None:
    table = panel()
    most = table.filter((pl.col("row") % 10 > 0) | (pl.col("version") == "W46"))
    assert compare(most).rows == {"both versions": ROWS * 9 // 10, "W46 alone": ROWS // 10}
    half = table.filter((pl.col("row") % 2 == 0) | (pl.col("version") == "W46"))
    review = compare(half)
    assert review.verdict is Verdict.UNDECIDED
    assert {f.reason for f in review if f.check == "churn"} == {"few_in_common"}


def test_the_same_table_twice_does_not_change() -> None:
    table = panel().filter(pl.col("version") == "W46")
    found = compare(pl.concat([table, table.with_columns(version=pl.lit("W47"))]))
    assert found.verdict is Verdict.OK
    assert all(f.effect is not None and f.effect.value == 0 for f in found)


@pytest.mark.parametrize(
    ("change", "more", "words"),
    [
        (None, {"candidate": "W48"}, "has no 'W48'; it has 'W46', 'W47'."),
        (None, {"candidate": "W46"}, "Baseline and candidate are both 'W46'"),
        (None, {"candidate": []}, "Baseline and candidate are empty"),
        (None, {"candidate": ["W46", "W47"]}, "are values of the column 'version', so give one of each"),
        (None, {"replicates": "seed"}, "The panel has no column 'seed' to tell replicates apart"),
        (None, {"k": 0}, "The length k of the lists is 0"),
        (None, {"roles": {"version": "version", "id": "row"}}, "nothing to compare"),
        (None, {"roles": {"id": "row"}, "baseline": "p", "candidate": "q"}, "no column 'q'"),
        (None, {"margins": {"churn": -1}}, "The margin 'churn' is -1"),
        (None, {"margins": {"psi": 1}}, "names no check"),
        (lambda t: pl.concat([t, t.head(1)]), {}, "repeats 1 id within one version"),
        (lambda t: t.with_columns(pl.col("p").cast(pl.String)), {}, "score"),
        (lambda t: t.head(0), {}, "has no 'W46'; it has no values"),
    ],
)
def test_bad_input_is_one_sentence(change: Any, more: dict[str, Any], words: str) -> None:
    table = panel(n=200)
    with pytest.raises(al.InputError) as caught:
        compare(change(table) if change else table, **more)
    text = str(caught.value)
    assert words in text
    assert text.endswith(".")
    assert "\n" not in text


def test_large_panels_are_counted_whole_and_looked_at_in_part() -> None:
    found = compare(panel(n=120_000), alpha=0.1)
    by_id = named(found)
    assert by_id["churn/churn"].n == 120_000
    assert by_id["churn/churn"].sample is None
    sample = by_id["scores/disorder"].sample
    assert sample is not None
    assert 40_000 < sample < 55_000


def test_the_mix_of_categories_is_a_picture_of_the_review() -> None:
    from tests.frames import RANKED, ranked

    review = al.compare(ranked()[0], baseline="old", candidate="new", roles=RANKED)
    (picture,) = review.figures
    assert picture["names"] == ["old", "new"]
    assert sum(picture["production"]) == pytest.approx(1)
    assert "Category mix" in review._repr_html_()
    history = ranked()[0].select("user", "genre").filter(pl.Series([True] * 500 + [False] * 1500))
    found = named(al.compare(ranked()[0], baseline="old", candidate="new", roles=RANKED, history=history))
    assert found["mix/calibration"].n == 100


@pytest.mark.parametrize(
    ("roles", "history", "words"),
    [
        ({"position": None}, None, "Nothing says in which order the items of a list stand"),
        ({"category": None}, pl.DataFrame({"user": [1]}), "no column has the role category"),
        ({}, pl.DataFrame({"user": [1]}), "The history has no column 'genre'"),
    ],
)
def test_lists_that_cannot_be_compared_are_one_sentence(roles: Any, history: Any, words: str) -> None:
    from tests.frames import RANKED, ranked

    given = {k: v for k, v in {**RANKED, **roles}.items() if v is not None}
    with pytest.raises(al.InputError, match=words):
        al.compare(ranked()[0], baseline="old", candidate="new", roles=given, history=history)


def test_lists_may_stand_in_columns() -> None:
    long = pl.DataFrame({"user": [1, 1, 2, 2, 3, 3], "item": list("abcdef"), "rank": [1, 2] * 3})
    changed = long.with_columns(item=pl.Series(list("abcxyz")))
    both = pl.concat([long.with_columns(version=pl.lit("old")), changed.with_columns(version=pl.lit("new"))])
    roles = {"version": "version", "list": "user", "item": "item", "position": "rank"}
    expected = named(al.compare(both, baseline="old", candidate="new", roles=roles))
    sides = [t.sort("user", "rank").group_by("user", maintain_order=True).agg("item") for t in (long, changed)]
    wide = sides[0].rename({"item": "old"}).join(sides[1].rename({"item": "new"}), on="user")
    found = named(al.compare(wide, baseline="old", candidate="new", roles={"list": "user"}))
    assert {n: f.effect for n, f in found.items()} == {n: f.effect for n, f in expected.items()}
    alone = named(al.compare(wide.drop("user"), baseline="old", candidate="new"))
    assert alone["lists/rbo"].effect == expected["lists/rbo"].effect
    with pytest.raises(al.InputError, match="several replicates cannot stand in columns"):
        al.compare(wide.with_columns(more="new"), baseline=["old"], candidate=["new", "more"])
    with pytest.raises(al.InputError, match="has a column 'item'"):
        al.compare(wide.rename({"user": "item"}), baseline="old", candidate="new")


def test_classes_written_otherwise_than_outcomes_are_refused() -> None:
    table = panel(n=400).with_columns(label=pl.col("p") >= 0.5)
    roles = {"version": "version", "id": "row", "prediction": "label", "outcome": "y"}
    with pytest.raises(al.InputError, match="predictions are 'false', 'true' and the outcome 'y' has '0', '1'"):
        compare(table, roles=roles)
    alike = compare(table.with_columns(label=pl.col("label").cast(pl.Int64)), roles=roles)
    assert "churn/net" in named(alike)
    words = table.with_columns(pl.col("label", "y").cast(pl.Int64).replace_strict({0: "cat", 1: "dog"}))
    assert "churn/net" in named(compare(words, roles=roles))


def test_one_odd_score_does_not_take_churn_away() -> None:
    table = panel(n=2_000)
    odd = table.with_columns(p=pl.when(pl.col("row") == 0).then(1.0000001).otherwise(pl.col("p")))
    assert "churn/churn" in named(compare(odd))
    infinite = table.with_columns(p=pl.when(pl.col("row") < 5).then(float("inf")).otherwise(pl.col("p")))
    found = named(compare(infinite))
    assert found["churn/churn"].n == 1_995


def test_scores_far_from_zero_keep_their_digits() -> None:
    table = panel(noise=0.5)
    far = table.with_columns(pl.col("p") + 1e9)
    near_, far_ = (named(compare(t))["scores/shift"].effect for t in (table, far))
    assert near_ is not None
    assert far_ is not None
    assert far_.value == pytest.approx(near_.value, abs=1e-4)


def test_other_versions_of_the_table_do_not_thin_the_sample() -> None:
    table = panel(n=60_000)
    more = pl.concat([table, *[table.with_columns(version=pl.lit(f"V{i}")) for i in range(6)]])
    one, other = (named(compare(t))["scores/disorder"] for t in (table, more))
    assert one.n == other.n
    assert one.effect == other.effect


def test_versions_may_be_dates_or_numbers() -> None:
    import datetime as dt

    weeks = {"W46": dt.date(2026, 11, 9), "W47": dt.date(2026, 11, 16)}
    table = panel(n=400).with_columns(pl.col("version").replace_strict(weeks, return_dtype=pl.Date))
    assert compare(table, baseline="2026-11-09", candidate="2026-11-16").rows == {"both versions": 400}
    numbered = panel(n=400).with_columns(pl.col("version").replace_strict({"W46": 46, "W47": 47}))
    assert compare(numbered, baseline=46, candidate=47).rows == {"both versions": 400}


def test_a_segment_may_be_called_like_anything() -> None:
    table = panel(n=400).with_columns(churn=pl.lit("DE"), rows=pl.lit("FR"))
    for name in ("churn", "rows"):
        found = compare(table, roles={**ROLES, "segment": name})
        assert any(f.segment is not None for f in found)


def test_seed_noise_of_the_mix_is_no_alarm() -> None:
    """Runs of one distribution of models: categories that single runs favour are no change of the mix."""
    rng = np.random.default_rng(0)
    parts = []
    for version, seeds in (("W46", 1), ("W47", 5)):
        for seed in range(seeds):
            lean = rng.normal(0, 0.5, 8)
            items = np.argsort(-(rng.gumbel(size=(200, 40)) + np.tile(lean, 5)), axis=1)[:, :5]
            frame = {"user": np.repeat(np.arange(200), 5), "item": items.ravel(), "rank": np.tile(range(1, 6), 200)}
            parts.append(pl.DataFrame(frame).with_columns(version=pl.lit(version), seed=pl.lit(seed)))
    lists = pl.concat(parts).with_columns(genre=pl.format("g{}", pl.col("item") % 8))
    roles = {"version": "version", "list": "user", "item": "item", "position": "rank", "category": "genre"}
    found = named(al.compare(lists, baseline="W46", candidate="W47", replicates="seed", roles=roles))
    assert found["mix/overall"].verdict is not Verdict.ALARM
    assert not found["mix/overall"].primary
    assert found["mix/excess"].verdict is not Verdict.ALARM


def test_histories_with_other_types_or_other_categories() -> None:
    from tests.frames import RANKED, ranked

    lists = ranked()[0]
    history = lists.filter(pl.col("version") == "old").select(pl.col("user").cast(pl.String), "genre")
    found = named(al.compare(lists, baseline="old", candidate="new", roles=RANKED, history=history))
    assert found["mix/calibration"].n == 200
    strange = history.with_columns(genre=pl.lit("opera"))
    found = named(al.compare(lists, baseline="old", candidate="new", roles=RANKED, history=strange))
    assert found["mix/calibration"].reason == "too_few_rows"
