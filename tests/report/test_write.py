"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from afterlaunch.finding import Review
from afterlaunch.report import html, write
from tests.report.reviews import launch_review, nasty_review


def test_the_ending_decides(tmp_path: Path) -> None:
    review = launch_review()
    assert write(review, tmp_path / "a.json") == tmp_path / "a.json"
    assert Review.from_json((tmp_path / "a.json").read_text(encoding="utf-8")) == review
    assert review.save(str(tmp_path / "b.HTML")) == tmp_path / "b.HTML"
    assert (tmp_path / "b.HTML").read_text(encoding="utf-8") == html(review)
    assert {p.name for p in tmp_path.iterdir()} == {"a.json", "b.HTML"}


def test_lone_surrogates_survive_json(tmp_path: Path) -> None:
    review = nasty_review()
    text = write(review, tmp_path / "a.json").read_bytes().decode("utf-8")
    assert Review.from_json(text) == review
    write(review, tmp_path / "a.html").read_bytes().decode("utf-8")


@pytest.mark.parametrize(
    ("name", "words"), [("a.pdf", "ends in '.pdf'"), ("a", "no suffix"), ("a.json.gz", "ends in '.gz'")]
)
def test_another_ending_is_refused_with_a_remedy(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"give one that ends in \.json or \.html") as error:
        write(launch_review(), tmp_path / name)
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write(launch_review(), tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.html"
    path.write_text("old")
    monkeypatch.setattr("afterlaunch.report.page.page", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write(launch_review(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write(launch_review(), tmp_path / "no" / "a.json")


def test_rights_and_links_are_those_of_an_ordinary_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    target = tmp_path / "target.json"
    link = tmp_path / "link.json"
    link.symlink_to(target)
    write(launch_review(), link)
    assert link.is_symlink()
    assert target.stat().st_size > 0
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
