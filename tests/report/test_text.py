"""Numbers and words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.finding import Effect, Finding, Verdict
from afterlaunch.report import text


@pytest.mark.parametrize(
    ("effect", "margin", "shown"),
    [
        (Effect("AUC", 0.8123, 0.8119, 0.8127, "AUC"), None, "0.8123 [0.8119, 0.8127]"),
        (Effect("delay", 1234.5, 1200.1, 1300.9, "ms"), None, "1,234 [1,200, 1,301] ms"),
        (Effect("d", 0.3, 0.102, 0.6, "x"), 0.1, "0.300 [0.102, 0.600] x"),
        (Effect("d", 0.0, 0.0, 0.0, "x"), 0.1, "0 [0, 0] x"),
        (Effect("d", 0.004, 0.0, 5.0, "x"), 0.1, "0.004 [0.0, 5.0] x"),
        (Effect("d", 1e20, 1e19, 1e21, "x"), 0.1, "1.00e+20 [1.00e+19, 1.00e+21] x"),
        (Effect("missing", 1.0, 0.9995, 1.0, "share"), 0.05, "100.00 % [99.95 %, 100.00 %]"),
        (Effect("count", -3.0, -5.0, -1.0, ""), None, "-3 [-5, -1]"),
    ],
)
def test_digits_follow_the_interval(effect: Effect, margin: float | None, shown: str) -> None:
    assert text.estimate(effect, margin) == shown


_real = st.floats(min_value=-1e12, max_value=1e12)


@given(ends=st.tuples(_real, _real, _real).map(sorted), margin=st.floats(min_value=1e-3, max_value=1e6))
def test_shown_numbers_lie_near_the_real_ones(ends: list[float], margin: float) -> None:
    low, value, high = ends
    shown = text.estimate(Effect("e", value, low, high, "u"), margin).removesuffix(" u")
    read = [
        float(word.replace(",", "")) for word in re.findall(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?(?=[ \],]|$)", shown)
    ]
    assert len(read) == 3
    for got, real in zip(read, (value, low, high), strict=True):
        assert (
            abs(got - real) <= max(0.5, high - low)
            if abs(real) >= 1000
            else abs(got - real) <= max(0.006 * abs(real), high - low)
        )


@given(words=st.text())
def test_plain_text_has_nothing_hidden_and_encodes(words: str) -> None:
    shown = text.plain(words)
    assert len(shown) == len(words)
    shown.encode("utf-8")
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in shown)
    assert text.plain(shown) == shown


@pytest.mark.parametrize(
    ("direction", "unit", "shown"),
    [("up", "share", "5 %"), ("down", "AUC", "-0.05 AUC"), ("both", "sd", "±0.05 sd"), ("up", "gap", "0.05")],
)
def test_margin_is_signed_by_its_direction(direction: str, unit: str, shown: str) -> None:
    f = Finding("c", "k", "", Verdict.OK, "", "", Effect("gap", 0, 0, 0, unit), margin=0.05, direction=direction)  # type: ignore[arg-type]
    assert text.margin(f) == shown
    assert text.measured(f).endswith(f", margin {shown}")


def test_subjects() -> None:
    def named(subject: str) -> str:
        return text.subject(Finding("c", "k", subject, Verdict.UNDECIDED, "", "", None, reason="x"))

    assert [named(s) for s in ("", " ", "age", "a\nb")] == ["k", "' '", "age", "a␊b"]


def test_without_margin_or_effect() -> None:
    f = Finding("c", "k", "", Verdict.UNDECIDED, "", "", None, reason="x")
    assert (text.margin(f), text.measured(f), text.scope(f)) == ("none", "no estimate", "")
