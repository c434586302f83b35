"""The same training again and again: other seeds, in parallel, and continued where it was broken off."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from afterlaunch.decide import InputError

Train = Callable[[int], Any]
Progress = Callable[[str], None]
REPLICATE = "replicate"
HEADER = "replicates.json"
FORMAT = 1


def replicate(
    train: Train,
    seeds: int = 10,
    *,
    base: int = 0,
    jobs: int | None = None,
    folder: str | Path | None = None,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Run a training several times with other seeds, and put what it returns together.

    Let `train` draw its training rows anew from the seed (`numpy.random.default_rng(seed)`) as well as give the seed
    to the model: what differs between replicates is then all that chance does.

    Args:
        train: Takes a seed, a whole number below 2**32, and returns the outputs of that run: a dataframe that
            narwhals knows, an array of shape (n,), or a dict (of columns, or of numbers).
        seeds: How many replicates.
        base: Where the seeds come from: the same base gives the same seeds, and more of them the same first ones.
        jobs: Processes at work; None takes one for each processor, 1 stays in this process.
        folder: Where finished replicates are kept; run again, only those that are missing are trained.
        progress: Called with a few words after each.

    Returns:
        One long frame with the column "replicate", 0 to seeds - 1, first: what `compare(..., replicates="replicate")`
        takes, once a column with the version is there. An array makes the columns "row" and "value".

    Raises:
        InputError: When `train` cannot be sent to other processes, returns something else, or fails, with its seed:
            with a folder the other replicates are finished and kept, without one the first failure stops all. Also
            when the folder holds replicates of another training or base, which are left alone.

    Source:
        Bouthillier et al. (2021), Accounting for Variance in Machine Learning Benchmarks, MLSys 3: vary all
        sources of chance at once. Seeds are spawned as numpy's SeedSequence does, so that they do not overlap.

    Example:
        >>> def train(seed):
        ...     return {"accuracy": round(0.8 + 0.01 * np.random.default_rng(seed).normal(), 4)}
        >>> runs = replicate(train, seeds=3, jobs=1)
        >>> runs.columns, runs["replicate"].to_list(), runs["accuracy"].n_unique()
        (['replicate', 'accuracy'], [0, 1, 2], 3)
    """
    if isinstance(seeds, bool) or seeds < 1:
        raise InputError(f"The number of seeds is {seeds}; give a whole number from 1 on.")
    if jobs is not None and jobs < 1:
        raise InputError(f"The number of jobs is {jobs}; give a whole number from 1 on.")
    say = progress or (lambda _: None)
    numbers = seeds_of(seeds, base)
    kept = _Folder.open(Path(folder), train, base) if folder is not None else None
    found: dict[int, pl.DataFrame] = {}
    if kept is not None:
        found = {i: frame for i in range(seeds) if (frame := kept.read(i)) is not None}
    missing = [i for i in range(seeds) if i not in found]
    if found and missing:
        say(f"{len(found)} of {seeds} replicates were kept")
    failed: list[_Outcome] = []
    for outcome in _run(train, missing, numbers, jobs or os.cpu_count() or 1):
        i = outcome.place
        if outcome.error is not None:
            failed.append(outcome)
            say(f"replicate {i} failed")
            if kept is None:
                break
            continue
        frame = _as_frame(outcome.result, i)
        if kept is not None:
            kept.write(i, frame)
        found[i] = frame
        say(f"{len(found)} of {seeds} replicates are done")
    if failed:
        raise _failed(failed, numbers, len(found), kept) from failed[0].error
    frames = [found[i].select(pl.lit(i, dtype=pl.Int64).alias(REPLICATE), pl.all()) for i in range(seeds)]
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InputError("The replicates have different columns; let the training return the same ones.") from error


def seeds_of(count: int, base: int = 0) -> list[int]:
    """The seeds of replicates: whole numbers below 2**32 that depend on the base and their place only.

    Example:
        >>> seeds_of(2) == seeds_of(5)[:2], len(set(seeds_of(100)))
        (True, 100)
    """
    return [int(s.generate_state(1)[0]) for s in np.random.SeedSequence(base).spawn(count)]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What one replicate came to: a result, or the error that ended it."""

    place: int
    result: Any = None
    error: Exception | None = None


def _run(train: Train, missing: list[int], numbers: list[int], jobs: int) -> Iterator[_Outcome]:
    """Outcomes in the order in which they come; whoever stops reading stops what has not begun."""
    if not missing:
        return
    if jobs == 1 or len(missing) == 1:
        for i in missing:
            try:
                found = _Outcome(i, _alone(train, numbers[i]))
            except Exception as error:
                found = _Outcome(i, error=error)
            yield found
        return
    _require_sendable(train)
    before = set(active_children())
    with ProcessPoolExecutor(min(jobs, len(missing)), mp_context=get_context("spawn"), initializer=_begin) as pool:
        waiting: dict[Future[Any], int] = {pool.submit(_alone, train, numbers[i]): i for i in missing}
        try:
            while waiting:
                # An interrupt may reach another thread: this one must look up now and then to see it.
                done, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    ended = future.exception()
                    if isinstance(ended, BrokenExecutor):
                        raise InputError(
                            "A process ended before its replicate was done: put the call under "
                            '`if __name__ == "__main__":` where it stands in a script, give fewer jobs if memory ran '
                            "out, or jobs=1."
                        ) from ended
                    i = waiting.pop(future)
                    if ended is None:
                        yield _Outcome(i, future.result())
                    elif isinstance(ended, Exception):
                        yield _Outcome(i, error=ended)
                    else:
                        raise ended
        finally:
            if waiting:
                for future in waiting:
                    future.cancel()
                for process in set(active_children()) - before:
                    process.terminate()


def _require_sendable(train: Train) -> None:
    """Refuse a function that another process cannot find."""
    inner: Any = train
    while isinstance(inner, partial):
        inner = inner.func
    name = getattr(inner, "__name__", type(inner).__name__)
    why = InputError(
        f"The training {name!r} cannot be sent to other processes; define it in a module, not within a function, as a "
        "lambda, or in a notebook, or give jobs=1."
    )
    home = getattr(inner, "__module__", None) if hasattr(inner, "__name__") else type(inner).__module__
    if home == "__main__" and not Path(getattr(sys.modules["__main__"], "__file__", None) or "").is_file():
        raise why
    try:
        pickle.dumps(train)
    except Exception as error:
        raise why from error


def _begin() -> None:
    """Several processes share the processors, so each has one thread; this is for libraries that are loaded later."""
    for library in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB"):
        os.environ[f"{library}_NUM_THREADS"] = "1"


def _alone(train: Train, seed: int) -> Any:
    """One replicate, with one thread wherever it runs, so that sums are added up in the same order."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return train(seed)


def _failed(failed: list[_Outcome], numbers: list[int], done: int, kept: _Folder | None) -> InputError:
    first = min(failed, key=lambda f: f.place)
    if isinstance(first.error, InputError):
        what = str(first.error).rstrip(".")
    else:
        what = " ".join(f"{type(first.error).__name__}: {first.error}".split()).rstrip(".")[:200]
    rest = sorted(f.place for f in failed if f is not first)
    also = f", and so did {', '.join(map(str, rest))}" if rest else ""
    keep = f"; {done} finished ones are kept" if kept is not None and done else ""
    return InputError(
        f"Replicate {first.place} (seed {numbers[first.place]}) failed: {what}{also}{keep}; "
        "mend the training and run it again."
    )


def _as_frame(result: Any, place: int) -> pl.DataFrame:
    if isinstance(result, Mapping):
        columns = dict(result)
        single = all(np.ndim(v) == 0 for v in columns.values())
        frame = pl.DataFrame({k: [v] for k, v in columns.items()} if single else columns)
    elif isinstance(result, (np.ndarray, list, tuple)):
        values = np.asarray(result)
        if values.ndim != 1:
            raise InputError(
                f"Replicate {place} returned an array of shape {values.shape}; give one dimension, or a dataframe."
            )
        frame = pl.DataFrame({"row": np.arange(len(values)), "value": values})
    else:
        import narwhals as nw

        try:
            frame = nw.from_native(result, eager_only=True).to_polars()
        except TypeError as error:
            raise InputError(
                f"Replicate {place} returned {type(result).__name__}; return a dataframe, an array or a dict."
            ) from error
    if REPLICATE in frame.columns:
        raise InputError(f"The training returned a column {REPLICATE!r}; rename it, the replicates are numbered there.")
    return frame


class _Folder:
    """Finished replicates on disk, each whole or not there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path, train: Train, base: int) -> _Folder:
        module, name = getattr(train, "__module__", ""), getattr(train, "__qualname__", type(train).__qualname__)
        mine = {"format": FORMAT, "train": f"{module}.{name}", "base": base}
        header = path / HEADER
        try:
            path.mkdir(parents=True, exist_ok=True)
            text = header.read_text(encoding="utf-8") if header.exists() else None
            if text is None:
                _whole(header, json.dumps(mine).encode())
        except OSError as error:
            why = error.strerror
            raise InputError(f"The folder {str(path)!r} cannot be used ({why}); give another one.") from error
        if text is not None:
            try:
                found = json.loads(text)
            except ValueError as error:
                raise InputError(f"The file {str(header)!r} is damaged; empty the folder.") from error
            if found != mine:
                raise InputError(
                    f"The folder {str(path)!r} holds replicates of another training, base or format than "
                    f"{mine['train']!r} with base {base}; give another folder, or empty this one."
                )
        return cls(path)

    def file(self, place: int) -> Path:
        return self.path / f"replicate-{place:05}.parquet"

    def read(self, place: int) -> pl.DataFrame | None:
        file = self.file(place)
        if not file.exists():
            return None
        try:
            return pl.read_parquet(file)
        except (pl.exceptions.PolarsError, OSError):
            # A file that cannot be read is trained again.
            return None

    def write(self, place: int, frame: pl.DataFrame) -> None:
        import io

        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        _whole(self.file(place), buffer.getvalue())


def _whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    name = hashlib.sha256(f"{os.getpid()}{path}".encode()).hexdigest()[:8]
    part = path.with_name(f".{path.name}.{name}")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
