"""Kept counts: the same as a full recount, whatever happened to the files of the log or of the folder."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from afterlaunch.decide import InputError
from afterlaunch.profile import kept as keeping
from afterlaunch.profile import store
from afterlaunch.profile.kept import Part, Plan, identity, load, save
from afterlaunch.profile.store import Followed, count_with_store
from afterlaunch.profile.types import NAMES_KEPT, Bins
from afterlaunch.tables import Table, open_table, parse_every
from afterlaunch.tables.windows import Extent
from tests.frames import mixed
from tests.profile.test_windows import bins_of, same

START = dt.datetime(2026, 1, 1)  # noqa: DTZ001
COLUMNS = ("age", "amount", "member", "town", "nothing")
BINS = bins_of(mixed(400, 0), COLUMNS)


def day(number: int, rows: int = 60) -> pl.DataFrame:
    hours = np.random.default_rng(number).integers(0, 26 * 60, rows)  # two hours into the next day
    times = [START + dt.timedelta(days=number, minutes=int(m)) for m in hours]
    frame = mixed(rows, number, shift=0.1 * (number % 3)).with_columns(seen=pl.Series(times))
    return frame.with_columns(seen=pl.when(pl.col("visits") != 5).then("seen"))


class Log:
    """A folder with a file a day, and a count of the files that were opened."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.opened = folder / "log", list[str]()
        self.cache = folder / "cache"
        self.folder.mkdir(parents=True)

    def write(self, number: int, rows: int = 60, seed: int = 0) -> Path:
        file = self.folder / f"{number:03d}.parquet"
        day(number + seed, rows).with_columns(seen=pl.col("seen") - dt.timedelta(days=seed)).write_parquet(file)
        return file

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def open(self, files: Sequence[Path]) -> Table:
        self.opened += [f.name for f in files]
        return open_table(list(files), name="production")

    def count(self, cache: Path | None, bins: dict[str, Bins | None] = BINS, **more: Any) -> Followed:
        files = self.files()
        kinds = open_table(files, name="production").kinds
        every = parse_every(more.pop("every", "1d"))
        self.opened = []
        given: dict[str, Any] = {"time": "seen", "kinds": kinds, "segment": "country", "segments": ["DE", "XX"]}
        return count_with_store(files, self.open, bins, COLUMNS, every, cache=cache, **{**given, **more})

    def check(self, **more: Any) -> Followed:
        """Count with the folder, and as a whole."""
        found = self.count(self.cache, **more)
        opened = self.opened
        whole = self.count(None, **more)
        same(found.timeline, whole.timeline)
        assert found.without_time == whole.without_time
        assert found.read == len(opened)
        self.opened = opened
        return found


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = Log(tmp_path)
    for number in range(6):
        made.write(number)
    return made


def test_a_second_run_reads_nothing_and_a_new_day_one_file(log: Log) -> None:
    assert log.check().read == 6
    assert log.check().read == 0
    log.write(6)
    assert log.check().read == 1
    assert log.opened == ["006.parquet"]
    assert log.check().read == 0
    (kept,) = log.cache.iterdir()
    assert kept.suffix == ".npz"


def test_a_file_that_changed_is_counted_again_with_those_counted_beside_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.check()
    log.write(5, rows=70)  # the newest is kept apart
    log.check()
    assert log.opened == ["005.parquet"]
    log.write(2, seed=30)
    log.check()
    assert log.opened == [f"00{i}.parquet" for i in range(5)]
    monkeypatch.setattr(store, "BATCH_BYTES", 1)
    log.write(2, seed=60)
    log.check()
    log.write(3, seed=60)
    log.check()
    assert log.opened == ["003.parquet"]


def test_a_touched_file_and_one_of_the_same_size_and_time_are_told_apart(log: Log) -> None:
    file = log.write(0)
    before = identity(file)
    about = file.stat()
    content = file.read_bytes()
    file.write_bytes(content[:-200] + bytes(8) + content[-192:])
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (about.st_size, about.st_mtime_ns)
    assert identity(file) != before
    file.write_bytes(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert identity(file) == before
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns + 1))
    assert identity(file) != before
    assert identity(file.with_name("gone")) == ""


def test_files_that_are_gone_and_other_globs(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH_BYTES", 1)
    log.check()
    moved = log.files()[0].rename(log.folder / "000.gone")
    assert log.check().read == 0
    moved.rename(log.folder / "000.parquet")
    assert log.check().read == 0


def test_other_settings_are_kept_apart(log: Log) -> None:
    log.check()
    assert log.check(every="1w").read == 6
    assert log.check(every="1mo", segment=None).read == 6
    assert log.check(segments=["FR"]).read == 6
    assert log.check(bins=bins_of(mixed(400, 9), COLUMNS)).read == 6
    assert log.check(every="100 rows", time=None).read == 6
    assert log.check(every="100 rows", time=None).read == 6
    assert log.check().read == 0
    assert len(list(log.cache.iterdir())) == 5


def test_windows_of_time_need_times(log: Log) -> None:
    with pytest.raises(InputError, match="need the role 'time'"):
        log.count(log.cache, time=None)


def test_a_damaged_or_foreign_file_is_counted_again(log: Log) -> None:
    log.check()
    (kept,) = log.cache.iterdir()
    good = kept.read_bytes()
    rng = np.random.default_rng(0)
    spoiled = [b"", b"nonsense", good[: len(good) // 2], good[:-1]]
    for at in rng.integers(0, len(good), 12):
        spoiled.append(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1 :])
    for content in spoiled:
        kept.write_bytes(content)
        log.check()
    kept.unlink()
    log.check(every="6h")
    (other,) = log.cache.iterdir()
    other.rename(kept)
    assert log.check().read == 6


@pytest.mark.parametrize("spoil", ["header", "cells", "negative", "index", "short", "pickle", "parts"])
def test_a_file_that_contradicts_itself_is_counted_again(log: Log, spoil: str) -> None:
    log.check()
    (kept,) = log.cache.iterdir()
    with np.load(kept) as found:
        arrays = {n: found[n].copy() for n in found.files}
    header = json.loads(arrays["header"].tobytes())
    if spoil == "header":
        header["key"] = "0" * 64
    elif spoil == "parts":
        header["parts"] = [1, 2]
    elif spoil == "cells":
        arrays["cells"][0, 1] += 1
    elif spoil == "negative":
        arrays["cells"] = arrays["cells"].astype(np.int64)
        arrays["cells"][0, -1] = -1
    elif spoil == "index":
        arrays["index"][:] = 5
    elif spoil == "short":
        arrays["cells"] = arrays["cells"][:-1]
    elif spoil == "pickle":
        arrays["cells"] = np.array([{}], dtype=object)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    np.savez(kept, **arrays)
    assert log.check().read == 6
    assert log.check().read == 0


def test_a_part_of_other_kinds_makes_the_log_one_whole(tmp_path: Path) -> None:
    made = Log(tmp_path)
    for number, text in enumerate(["2026-01-01", "not a date", "2026-01-03"]):
        file = made.folder / f"{number}.parquet"
        day(number).with_columns(town=pl.lit(text)).write_parquet(file)
    bins = {**BINS, **bins_of(pl.DataFrame({"town": ["2026-01-01", "b"]}), ["town"])}
    for _ in range(2):
        same(made.count(made.cache, bins).timeline, made.count(None, bins).timeline)
    assert made.count(made.cache, bins).timeline.columns["town"].counts[:, 0].sum() > 0
    assert not list(made.cache.iterdir())


def test_a_folder_that_cannot_be_made_is_refused(log: Log, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match=r"The cache folder '.*' cannot be made \(.*\); name another"):
        log.count(blocked / "cache")


def test_a_disk_that_is_full_costs_no_review(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping.np, "savez", full)
    assert log.check().read == 6
    assert list(log.cache.iterdir()) == []


def test_a_file_that_changes_while_it_is_counted_is_not_kept(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = log.open

    def late(files: Sequence[Path]) -> Table:
        table = opened(files)
        if any(f.name == "005.parquet" for f in files):
            os.utime(log.folder / "005.parquet", ns=(1, 1))
        return table

    monkeypatch.setattr(log, "open", late)
    log.count(log.cache)
    monkeypatch.undo()
    log.check()
    assert log.opened == ["005.parquet"]


def test_two_runs_at_once_do_no_harm(log: Log) -> None:
    whole = log.count(None).timeline
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: log.count(log.cache), range(8)):
            same(found.timeline, whole)
    assert log.check().read == 0
    assert [f.suffix for f in log.cache.iterdir()] == [".npz"]


def test_names_are_kept_up_to_the_limit_over_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BATCH_BYTES", 1)
    made = Log(tmp_path)
    for number in range(3):
        names = [f"new {number} {i}" for i in range(NAMES_KEPT // 2)]
        day(number, len(names)).with_columns(town=pl.Series(names)).write_parquet(made.folder / f"{number}.parquet")
        found = made.check()
    assert found.timeline.columns["town"].others is None


def test_parts_of_other_logs_are_dropped_when_there_is_no_room(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    log.check()
    (kept,) = log.cache.iterdir()
    monkeypatch.setattr(keeping, "KEPT_COUNTS", 1)
    for file in log.files()[:5]:
        file.unlink()
    log.write(7)
    assert log.check().read == 1
    log.write(0)
    assert log.check().read == 1
    assert kept.exists()


def test_large_counts_are_kept_whole(tmp_path: Path) -> None:
    plan = Plan({"a": "other"}, {}, parse_every("1d"), "ts", None, ())
    one = np.array([1])
    part = Part({"x": "1"}, Extent(one, one << 40, one, one), np.array([[[1 << 40, 5, 0, 0, 0]]]), ({"a": None},))
    assert save(tmp_path / "x.npz", plan, [part])
    (again,) = load(tmp_path / "x.npz", plan)
    assert again.cells.tolist() == part.cells.tolist()
    assert (again.files, again.others) == (part.files, part.others)


@settings(suppress_health_check=list(HealthCheck), max_examples=12, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["write", "remove", "count"]), st.integers(0, 5)), max_size=8))
def test_whatever_happens_to_the_files_it_is_a_full_recount(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = Log(tmp_path_factory.mktemp("log"))
    made.write(9)
    for n, (what, number) in enumerate(steps):
        if what == "write":
            made.write(number, rows=10 + n, seed=100 * (n % 2))
        elif what == "remove":
            (made.folder / f"{number:03d}.parquet").unlink(missing_ok=True)
        else:
            made.check()
    made.check()
