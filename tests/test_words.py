"""Numbers and names in sentences."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from afterlaunch.finding import Effect
from afterlaunch.words import estimate, number, plain, quantity, shorten, unit_of

numbers = st.floats(-1e12, 1e12)


def read(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\tc", "a␊b␉c"),
        ("\x1b[31mred", "␛[31mred"),
        ("nul\x00", "nul␀"),
        ("\u202eright to left", "\ufffdright to left"),
        ("lone \udc80", "lone \ufffd"),
        ("<b>&", "<b>&"),  # markup is the view's business
        ("naïve ☕ 日本", "naïve ☕ 日本"),
        (42, "42"),
    ],
)
def test_names_with_invisible_characters(text: object, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(st.characters(exclude_categories=())))
def test_nothing_invisible_is_left(text: str) -> None:
    shown = plain(text)
    shown.encode("utf-8")
    assert not any(unicodedata.category(c) == "Cc" for c in shown)
    assert not any(c in shown for c in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")
    assert plain(shown) == shown
    assert len(shown) == len(text)


@given(st.text(max_size=40), st.integers(1, 30))
def test_shortened_text_fits_and_begins_alike(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))


@given(numbers)
def test_a_number_keeps_three_digits(value: float) -> None:
    shown = number(value)
    assert read(shown) == pytest.approx(value, rel=5.1e-3, abs=1e-300)
    assert number(-value) in {f"-{shown}", shown[1:], shown}


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (-0.0, "0"), (1, "1"), (0.12345, "0.123"), (999.4, "999"), (1234.5, "1,234"), (1e-5, "1.00e-05")],
)
def test_numbers_as_people_write_them(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize("value", [999.5, 999.9, 9_999_999.0])
def test_everyday_sizes_have_no_exponent(value: float) -> None:
    assert "e" not in number(value)


@pytest.mark.parametrize(
    ("value", "unit", "shown"), [(0.05, "share", "5 %"), (12, "ms", "12 ms"), (0.3, "", "0.3"), (3, "a\nb", "3 a␊b")]
)
def test_quantities(value: float, unit: str, shown: str) -> None:
    assert quantity(value, unit) == shown


effects = st.tuples(
    st.floats(-1e4, 1e4), st.floats(0, 1e3), st.floats(0, 1e3), st.sampled_from(["share", "AUC", "ms", "PSI"])
).map(lambda t: Effect("delay", t[0], t[0] - t[1], t[0] + t[2], t[3]))


@given(effects, st.one_of(st.none(), st.floats(1e-3, 1e3)))
def test_an_estimate_shows_value_and_interval_in_order(effect: Effect, margin: float | None) -> None:
    shown = estimate(effect, margin)
    found = re.fullmatch(r"(\S+)(?: %)? \[(\S+?)(?: %)?, (\S+?)(?: %)?\](?: (.+))?", shown)
    assert found is not None
    scale = 100 if effect.unit == "share" else 1
    value, low, high = (read(found.group(i)) / scale for i in (1, 2, 3))
    assert low <= value <= high
    width = effect.high - effect.low
    for got, true in ((value, effect.value), (low, effect.low), (high, effect.high)):
        assert abs(got - true) <= 0.2 * width + 6e-3 * abs(true)
    assert found.group(4) == (None if effect.unit == "share" else effect.unit)


@given(st.floats(0.01, 1), st.floats(0.001, 0.2), st.floats(-0.01, 0.01))
def test_rounding_does_not_move_an_end_across_the_margin(margin: float, width: float, beyond: float) -> None:
    """An alarm at a margin of 0.1 must not read "0.10 [0.10, ...]"; three more digits are enough for a hundredth."""
    effect = Effect("delay", margin + beyond + width / 2, margin + beyond, margin + beyond + width, "ms")
    shown = re.fullmatch(r"\S+ \[(\S+), (\S+)\] ms", estimate(effect, margin))
    assert shown is not None
    if abs(beyond) > width / 1000:
        assert (read(shown.group(1)) > margin) == (effect.low > margin)


def test_a_unit_that_repeats_the_name_is_left_out() -> None:
    assert unit_of(Effect("psi", 0.1, 0.0, 0.2, "PSI")) == ""
    assert estimate(Effect("psi", 0.1, 0.0, 0.2, "PSI")) == "0.10 [0.00, 0.20]"
    assert unit_of(Effect("delay", 0.1, 0.0, 0.2, "ms")) == "ms"
