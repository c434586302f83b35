"""Hold the counting of a year's daily windows against that of whole tables, and a new day against the year.

Run as `python benchmarks/windows.py`. The rows are those of `data.py`, spread evenly over 365 days, once as one
Parquet file and once as a file a day (2.7 GB for 10M rows, in `--cache`). Every figure is of a fresh process of which
only the step itself is timed; the least of the repeats counts, as other work on a machine only ever adds.

- tables: two tables counted in frozen bins, as a review of two tables counts them (the same file twice)
- windows: the log cut into days, and every column counted in every day
- segments: the same, whole and for each of ten segments
- year: the files of all days counted into an empty cache folder
- day: one more file, after all others were counted
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

HERE = Path(__file__).resolve().parent
DAYS = 365
START = np.datetime64("2025-01-01", "us")
PARTS = ("tables", "windows", "segments", "year", "day")
BIN_ROWS = 50_000
SEGMENT = "kind_10"
MICROSECONDS = 86_400_000_000


def write(rows: int, cache: Path) -> tuple[Path, Path]:
    """The log as one file, and as a folder with a file a day; written when they are not there."""
    from data import ROW_GROUP
    from data import write as write_table

    whole, folder = cache / f"log-{rows}.parquet", cache / f"days-{rows}"
    if not whole.exists():
        raw = cache / f"raw-{rows}.parquet"
        write_table("production", rows, raw, unit=False)
        times = pl.Series("ts", START + (np.arange(rows) * (DAYS * MICROSECONDS / rows)).astype("timedelta64[us]"))
        partial = whole.with_suffix(".part")
        log = pl.concat([pl.scan_parquet(raw), pl.LazyFrame([times])], how="horizontal")
        log.sink_parquet(partial, compression="snappy", row_group_size=ROW_GROUP)
        raw.unlink()
        partial.replace(whole)
    if not folder.exists():
        partial = folder.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        log = pl.scan_parquet(whole)
        for day in range(DAYS):
            a, b = (int(np.ceil(rows * d / DAYS)) for d in (day, day + 1))
            log.slice(a, b - a).collect().write_parquet(partial / f"{day:03d}.parquet", compression="snappy")
        partial.rename(folder)
    return whole, folder


def measure(part: str, rows: int, cache: Path) -> dict[str, float]:
    """One step in this process: seconds of wall and processor time, and the largest memory in MB."""
    from afterlaunch.profile.count import Source, profile_reference, profile_table
    from afterlaunch.profile.store import count_with_store
    from afterlaunch.profile.windows import count_windows
    from afterlaunch.tables import Table, cut, fetch_all, open_table, parse_every, sample

    whole, folder = write(rows, cache)
    every = parse_every("1d")

    def source(table: Table) -> Source:
        return Source(table.frame, table.kinds, lambda frames: fetch_all(frames, table), rows=table.rows())

    table = open_table(whole, name="production")
    columns = [c for c in table.columns if c != "ts"]
    reference = open_table(pl.scan_parquet(whole).head(BIN_ROWS), name="reference")
    drawn = sample(reference, columns, BIN_ROWS, 0)
    bins = {n: c.bins for n, c in profile_reference(source(reference), drawn, columns).columns.items()}

    def tables() -> object:
        return [profile_table(source(table), bins, columns) for _ in range(2)]

    def windows(**more: Any) -> object:
        found = cut(table, every, time="ts")
        log = source(found.table)
        timeline = count_windows(log, bins, columns, found.column, found.windows, every="1d", **more)
        assert len(timeline.windows) == DAYS
        assert int(timeline.rows.sum()) == rows
        return timeline

    days, kept = sorted(folder.glob("*.parquet")), cache / "kept"
    if part in {"year", "day"}:
        shutil.rmtree(kept, ignore_errors=True)

    def stored(files: Sequence[Path]) -> object:
        def opened(chosen: Sequence[Path]) -> Table:
            return open_table(list(chosen), name="production")

        return count_with_store(files, opened, bins, columns, every, time="ts", kinds=table.kinds, cache=kept)

    if part == "day":
        stored(days[:-1])
    levels = [f"level {code:02d}" for code in range(10)]
    steps: dict[str, Callable[[], object]] = {
        "tables": tables,
        "windows": windows,
        "segments": lambda: windows(segment=SEGMENT, segments=levels),
        "year": lambda: stored(days),
        "day": lambda: stored(days),
    }
    wall, cpu = time.perf_counter(), time.process_time()
    steps[part]()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}


def arguments(given: argparse.Namespace) -> list[str]:
    """What a process of one part is told."""
    return ["--rows", str(given.rows), "--cache", str(given.cache)]


def main() -> int:
    """Measure every part in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, default=HERE / ".cache" / "windows")
    parser.add_argument("--part", choices=("write", *PARTS), help="measure one part, in this process, and print JSON")
    given = parser.parse_args()
    if given.part == "write":
        write(given.rows, given.cache)
        return 0
    if given.part:
        print(json.dumps(measure(given.part, given.rows, given.cache)))
        return 0
    given.cache.mkdir(parents=True, exist_ok=True)
    # In a process of its own: a child's peak memory is never below what its parent held when it was started.
    subprocess.run([sys.executable, str(Path(__file__)), "--part", "write", *arguments(given)], check=True)
    found: dict[str, list[dict[str, float]]] = {part: [] for part in PARTS}
    for _ in range(given.repeats):
        for part in PARTS:
            command = [sys.executable, str(Path(__file__)), "--part", part, *arguments(given)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            found[part].append(json.loads(done.stdout))
    best = {part: {k: min(r[k] for r in runs) for k in ("wall", "cpu")} for part, runs in found.items()}
    print("| part | wall, s | processor, s | peak, MB |\n|---|---:|---:|---:|")
    for part, runs in found.items():
        print(f"| {part} | {best[part]['wall']:.2f} | {best[part]['cpu']:.2f} | {max(r['peak'] for r in runs):.0f} |")
    for part, beside, most in (("windows", "tables", 3.0), ("segments", "tables", 3.0), ("day", "year", 0.03)):
        wall, cpu = (best[part][k] / best[beside][k] for k in ("wall", "cpu"))
        print(f"{part} ÷ {beside}: {wall:.3f} by wall, {cpu:.3f} by processor time (at most {most:g})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
