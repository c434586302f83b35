"""What the studies share: counting columns fast, binomial tolerances, resumable blocks of work, tables.

The studies draw thousands of tables. They count a drawn column with numpy, straight into the
`ColumnCounts` that the engine would return, and hand those to the same check and the same decisions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

import afterlaunch
from afterlaunch.profile.bins import category_bins, numeric_bins
from afterlaunch.profile.buckets import BUCKETS
from afterlaunch.profile.types import CategoryBins, ColumnCounts, NumericBins
from afterlaunch.questions.gather import BIN_ROWS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Task = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = Path(__file__).resolve().parent / ".cache"


# ------------------------------------------------------------------ counting


def numeric_reference(name: str, values: Floats, bucket: Ints | None = None) -> ColumnCounts:
    """Freeze the bins of a reference column, missing values as NaN, and count it."""
    valid = values[~np.isnan(values)]
    bins = numeric_bins(valid[:BIN_ROWS])
    if bins is None:
        raise ValueError(f"The column {name!r} has no values.")
    own = replace(bins, low=float(valid.min()), high=float(valid.max()))
    return numeric_counts(name, values, own, bucket)


def numeric_counts(name: str, values: Floats, bins: NumericBins, bucket: Ints | None = None) -> ColumnCounts:
    """Count a column in frozen bins, in 64 buckets when rows have one."""
    groups = 1 if bucket is None else BUCKETS
    null = np.isnan(values)
    where = np.zeros(values.size, dtype=np.int64) if bucket is None else bucket
    x, at = (values, where) if not null.any() else (values[~null], where[~null])
    cell = at * bins.size + np.searchsorted(np.array(bins.edges), x, side="left")
    zero = np.zeros(groups, dtype=np.int64)
    return ColumnCounts(
        name=name,
        kind="numeric",
        bins=bins,
        counts=np.bincount(cell, minlength=groups * bins.size).reshape(groups, bins.size),
        missing=np.bincount(where[null], minlength=groups) if null.any() else zero,
        infinite=zero,
        below=np.bincount(at[x < bins.low], minlength=groups),
        above=np.bincount(at[x > bins.high], minlength=groups),
        low=float(x.min()) if x.size else None,
        high=float(x.max()) if x.size else None,
    )


def category_reference(name: str, codes: Ints, names: Sequence[str], bucket: Ints | None = None) -> ColumnCounts:
    """Freeze the categories of a reference column, missing values as code −1, and count it."""
    rows = np.bincount(codes[codes >= 0], minlength=len(names))
    seen = np.flatnonzero(rows)
    bins = category_bins(
        [names[j] for j in seen], [int(rows[j]) for j in seen], int(seen.size), int(np.count_nonzero(rows == 1))
    )
    return category_counts(name, codes, names, bins, bucket)


def category_counts(
    name: str, codes: Ints, names: Sequence[str], bins: CategoryBins, bucket: Ints | None = None
) -> ColumnCounts:
    """Count a column of codes into `names` in frozen categories."""
    groups = 1 if bucket is None else BUCKETS
    where = np.zeros(codes.size, dtype=np.int64) if bucket is None else bucket
    place = {value: j for j, value in enumerate(bins.values)}
    last = bins.size - 1
    lookup = np.array([place.get(value, last) for value in names], dtype=np.int64)
    null = codes < 0
    cell = where[~null] * bins.size + lookup[codes[~null]]
    rows = np.bincount(codes[~null], minlength=len(names))
    zero = np.zeros(groups, dtype=np.int64)
    return ColumnCounts(
        name=name,
        kind="category",
        bins=bins,
        counts=np.bincount(cell, minlength=groups * bins.size).reshape(groups, bins.size),
        missing=np.bincount(where[null], minlength=groups),
        infinite=zero,
        below=zero,
        above=zero,
        others={v: int(rows[j]) for j, v in enumerate(names) if rows[j] and v not in place},
    )


def spacing(bins: NumericBins) -> Floats:
    """Length that each edge stands for in the Wasserstein distance, in standard deviations of the reference."""
    gaps = np.diff(np.array(bins.edges))
    return (np.append(gaps, 0.0) + np.append(0.0, gaps)) / 2 / bins.scale


# ------------------------------------------------------------------ tolerances


def most_hits(rate: float, repeats: int, doubt: float = 0.01) -> float:
    """Share of hits that a true rate of `rate` exceeds with a chance of at most `doubt`."""
    k = np.arange(repeats + 1)
    beyond = special.bdtrc(k, repeats, rate)
    return float(k[np.argmax(beyond <= doubt)]) / repeats


def error_of(share: float, repeats: int) -> float:
    """Standard error of a share."""
    return float(np.sqrt(max(share * (1 - share), 1 / repeats) / repeats))


# ------------------------------------------------------------------ work in blocks


def arguments(text: str | None) -> argparse.ArgumentParser:
    """The options that all studies share."""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repeats of fewer settings")
    parser.add_argument("--repeats", type=int, default=None, help="repeats of every setting")
    parser.add_argument("--jobs", type=int, default=1, help="processes at work")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", type=Path, default=None, help="also write the tables to this file")
    return parser


def data_folder(given: Path | None) -> Path:
    """Where the real tables are: the option, else AFTERLAUNCH_DATA, else a shared folder beside the repository."""
    folder = given or Path(os.environ.get("AFTERLAUNCH_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        sys.exit(f"There is no data folder {folder}; give --data or set AFTERLAUNCH_DATA.")
    return folder


def seed_of(task: Mapping[str, Any]) -> np.random.Generator:
    """A generator that depends on nothing but the task; where the data lie is no part of it."""
    digest = hashlib.sha256(_name(task).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype=np.uint32))


def _name(task: Mapping[str, Any]) -> str:
    return json.dumps({k: v for k, v in task.items() if k != "data"}, sort_keys=True)


def fingerprint(study: str) -> str:
    """Changes with the mathematics under study, so that a cache never mixes two versions of it."""
    source = Path(afterlaunch.__file__).parent
    files = [source / name for name in ("decide.py", "watch.py", "episodes.py")]
    files += [*sorted((source / "checks").glob("*.py")), *sorted((source / "stats").glob("*.py"))]
    files += [*sorted((source / "questions").glob("*.py")), *sorted((source / "release").glob("*.py"))]
    files += [REPOSITORY / "studies" / "recommenders.py"]
    files += [*sorted((source / "profile").glob("*.py")), REPOSITORY / "studies" / f"{study}.py", Path(__file__)]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:16]


def work(study: str, tasks: Iterable[Task], do: Callable[[Task], Any], jobs: int) -> list[tuple[Task, Any]]:
    """Do what is not in the cache yet, keep every result there at once, and return all of them.

    Args:
        study: Name of the study, and of its cache.
        tasks: Small JSON objects; a task's result depends on nothing else.
        do: Does one task and returns JSON.
        jobs: Processes.
    """
    CACHE.mkdir(exist_ok=True)
    path = CACHE / f"{study}-{fingerprint(study)}.jsonl"
    known: dict[str, Any] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.endswith("}"):
                entry = json.loads(line)
                known[_name(entry["task"])] = entry["result"]
    tasks = list(tasks)
    left = [t for t in tasks if _name(t) not in known]
    started, shown = time.monotonic(), 0.0
    with path.open("a", encoding="utf-8") as file:
        for done, (task, result) in enumerate(_each(do, left, jobs), 1):
            named = {k: v for k, v in task.items() if k != "data"}
            file.write(json.dumps({"task": named, "result": result}) + "\n")
            file.flush()
            known[_name(task)] = result
            spent = time.monotonic() - started
            if sys.stderr.isatty() or spent - shown > 30:
                shown = spent
                print(f"\r{study}: {done} of {len(left)} blocks, {spent:.0f} s", end="", file=sys.stderr, flush=True)
    if left:
        print(file=sys.stderr)
    return [(t, known[_name(t)]) for t in tasks]


class _Paired:
    def __init__(self, do: Callable[[Task], Any]) -> None:
        self.do = do

    def __call__(self, task: Task) -> tuple[Task, Any]:
        return task, self.do(task)


def _each(do: Callable[[Task], Any], tasks: Sequence[Task], jobs: int) -> Iterable[tuple[Task, Any]]:
    if jobs <= 1 or len(tasks) < 2:
        yield from map(_Paired(do), tasks)
        return
    with multiprocessing.get_context("spawn").Pool(min(jobs, len(tasks))) as pool:
        yield from pool.imap_unordered(_Paired(do), tasks)


def blocks(repeats: int, size: int) -> list[tuple[int, int]]:
    """Numbers and sizes of the blocks that make up `repeats`."""
    return [(i, min(size, repeats - i * size)) for i in range((repeats + size - 1) // size)]


def add_up(results: Iterable[Any]) -> Any:
    """Sum of nested counts of one shape or less; lists are joined."""
    total: Any = None
    for r in results:
        total = r if total is None else _add(total, r)
    return total


def _add(a: Any, b: Any) -> Any:
    if isinstance(a, dict):
        return {k: _add(a[k], b[k]) if k in a and k in b else a.get(k, b.get(k)) for k in {**a, **b}}
    return a + b


# ------------------------------------------------------------------ output


def per_cent(share: float | None) -> str:
    """A share as a short percentage."""
    if share is None:
        return "–"
    value = 100 * share
    return f"{value:.0f}" if value >= 10 or value in {0.0, 100.0} else f"{value:.1f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table: first column left, the others right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
