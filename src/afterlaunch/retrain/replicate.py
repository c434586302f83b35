"""The same training again and again: other seeds, in parallel, and continued where it was broken off."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing import get_context
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
        InputError: When `train` cannot be sent to other processes, returns something else, or fails (with its seed;
            finished replicates are kept in the folder), or when the folder holds those of another training or base.

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
    for i, result in _run(train, missing, numbers, jobs or os.cpu_count() or 1):
        frame = _as_frame(result, i)
        if kept is not None:
            kept.write(i, frame)
        found[i] = frame
        say(f"{len(found)} of {seeds} replicates are done")
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


def _run(train: Train, missing: list[int], numbers: list[int], jobs: int) -> Iterator[tuple[int, Any]]:
    """Results in the order in which they come; a failure stops what has not begun."""
    if not missing:
        return
    if jobs == 1 or len(missing) == 1:
        for i in missing:
            try:
                yield i, train(numbers[i])
            except InputError:
                raise
            except Exception as error:
                raise _failed(i, numbers[i], error) from error
        return
    try:
        pickle.dumps(train)
    except Exception as error:
        name = getattr(train, "__name__", type(train).__name__)
        raise InputError(
            f"The training {name!r} cannot be sent to other processes; define it in a module, not within a function or "
            "as a lambda, or give jobs=1."
        ) from error
    with ProcessPoolExecutor(min(jobs, len(missing)), mp_context=get_context("spawn")) as pool:
        waiting: dict[Future[Any], int] = {pool.submit(_alone, train, numbers[i]): i for i in missing}
        try:
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    i = waiting.pop(future)
                    try:
                        result = future.result()
                    except Exception as error:
                        raise _failed(i, numbers[i], error) from error
                    yield i, result
        finally:
            for future in waiting:
                future.cancel()


def _alone(train: Train, seed: int) -> Any:
    """One replicate in a process of its own: several processes share the processors, so each has one thread."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return train(seed)


def _failed(place: int, seed: int, error: Exception) -> InputError:
    what = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
    return InputError(f"Replicate {place} (seed {seed}) failed: {what[:200]}; mend the training and run it again.")


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
