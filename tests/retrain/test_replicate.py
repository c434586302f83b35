"""Replicates: the same seeds whatever the processes, kept on disk, and failures that name themselves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import afterlaunch as al
from afterlaunch.retrain.replicate import HEADER, seeds_of


def train(seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame({"row": [1, 2, 3], "p": rng.random(3), "process": [os.getpid()] * 3})


def fails(seed: int) -> dict[str, float]:
    if seed == seeds_of(3)[1]:
        raise ZeroDivisionError("no rows\nat all")
    return {"accuracy": 0.5}


def test_processes_change_nothing_but_who_does_the_work() -> None:
    one = al.replicate(train, seeds=4, jobs=1)
    more = al.replicate(train, seeds=4, jobs=2)
    assert one.drop("process").equals(more.drop("process"))
    assert one["replicate"].to_list() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert one["p"].n_unique() == 12
    assert set(one["process"]) == {os.getpid()}
    assert os.getpid() not in set(more["process"])


def test_more_seeds_begin_with_the_same_and_another_base_has_others() -> None:
    few, many, other = (
        al.replicate(train, seeds=n, jobs=1, base=b).drop("process") for n, b in ((2, 0), (3, 0), (2, 1))
    )
    assert many.filter(pl.col("replicate") < 2).equals(few)
    assert not set(other["p"]) & set(many["p"])


def test_what_is_kept_is_not_trained_again(tmp_path: Path) -> None:
    done: list[int] = []

    def counted(seed: int) -> dict[str, float]:
        done.append(seed)
        return {"accuracy": seed / 2**32}

    said: list[str] = []
    first = al.replicate(counted, seeds=2, jobs=1, folder=tmp_path / "runs", progress=said.append)
    both = al.replicate(counted, seeds=4, jobs=1, folder=tmp_path / "runs", progress=said.append)
    assert done == seeds_of(4)
    assert both.head(2).equals(first)
    assert said[-1] == "4 of 4 replicates are done"
    assert "2 of 4 replicates were kept" in said
    (tmp_path / "runs" / "replicate-00001.parquet").write_bytes(b"half a file")
    again = al.replicate(counted, seeds=4, jobs=1, folder=tmp_path / "runs")
    assert again.equals(both)
    assert len(done) == 5


def test_a_folder_of_another_training_is_refused(tmp_path: Path) -> None:
    al.replicate(train, seeds=1, jobs=1, folder=tmp_path)
    with pytest.raises(al.InputError, match="holds replicates of another training"):
        al.replicate(train, seeds=1, jobs=1, base=1, folder=tmp_path)
    assert json.loads((tmp_path / HEADER).read_text())["base"] == 0
    (tmp_path / HEADER).write_text("{")
    with pytest.raises(al.InputError, match="is damaged"):
        al.replicate(train, seeds=1, jobs=1, folder=tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(al.InputError, match="cannot be used"):
        al.replicate(train, seeds=1, jobs=1, folder=file)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failure_names_its_seed_and_keeps_the_others(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(al.InputError) as caught:
        al.replicate(fails, seeds=3, jobs=jobs, folder=tmp_path)
    assert str(caught.value).startswith(
        f"Replicate 1 (seed {seeds_of(3)[1]}) failed: ZeroDivisionError: no rows at all;"
    )
    assert (tmp_path / "replicate-00000.parquet").exists()
    assert not (tmp_path / "replicate-00001.parquet").exists()


@pytest.mark.parametrize(
    ("result", "columns"),
    [
        (np.array([0.5, 0.25]), ["replicate", "row", "value"]),
        ([1, 2], ["replicate", "row", "value"]),
        ({"a": 1.0, "b": 2}, ["replicate", "a", "b"]),
        ({"a": [1, 2]}, ["replicate", "a"]),
        (pd.DataFrame({"x": [1]}), ["replicate", "x"]),
        (pl.DataFrame({"x": [1]}), ["replicate", "x"]),
    ],
)
def test_results_of_many_forms(result: Any, columns: list[str]) -> None:
    assert al.replicate(lambda _: result, seeds=2, jobs=1).columns == columns


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"train": lambda _: {"a": 1}, "jobs": 2}, "cannot be sent to other processes"),
        ({"train": lambda _: object()}, "returned object; return a dataframe, an array or a dict"),
        ({"train": lambda _: np.zeros((2, 2))}, r"returned an array of shape \(2, 2\)"),
        ({"train": lambda _: {"replicate": 1}}, "returned a column 'replicate'"),
        ({"train": lambda seed: {"a" if seed % 2 else "b": 1}, "seeds": 8}, "have different columns"),
        ({"train": train, "seeds": 0}, "The number of seeds is 0"),
        ({"train": train, "jobs": 0}, "The number of jobs is 0"),
    ],
)
def test_bad_input_is_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(al.InputError, match=words) as caught:
        al.replicate(**{"seeds": 3, "jobs": 1, **given})
    assert str(caught.value).endswith(".")


def fails_twice(seed: int) -> dict[str, float]:
    if seed in seeds_of(5)[1:3]:
        raise ValueError("a bad draw")
    return {"accuracy": 0.5}


@pytest.mark.parametrize("jobs", [1, 2])
def test_one_failure_does_not_stop_the_others(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(al.InputError, match="a bad draw, and so did 2; 3 finished ones are kept; mend"):
        al.replicate(fails_twice, seeds=5, jobs=jobs, folder=tmp_path)
    assert {p.name for p in tmp_path.glob("*.parquet")} == {f"replicate-{i:05}.parquet" for i in (0, 3, 4)}


def loads_late(seed: int) -> dict[str, int]:
    import sklearn.cluster  # noqa: F401 (it brings OpenMP along, after the process has begun)
    from threadpoolctl import threadpool_info

    return {"threads": max(i["num_threads"] for i in threadpool_info()), "seed": seed}


def test_every_process_has_one_thread_for_libraries_loaded_late_too() -> None:
    assert set(al.replicate(loads_late, seeds=3, jobs=2)["threads"]) == {1}


def dies(seed: int) -> dict[str, float]:
    os._exit(seed % 2 + 1)


def test_a_process_that_dies_is_one_sentence() -> None:
    with pytest.raises(al.InputError, match="A process ended before its replicate was done: put the call under"):
        al.replicate(dies, seeds=3, jobs=2)


def run_script(text: str, folder: Path) -> str:
    file = folder / "script.py"
    file.write_text(text, encoding="utf-8")
    return subprocess.run([sys.executable, str(file)], check=False, capture_output=True, text=True, timeout=100).stderr


TRAIN = "import afterlaunch as al\ndef train(seed): return {'a': seed}\n"


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    said = run_script(TRAIN + "al.replicate(train, seeds=3, jobs=2)\n", tmp_path)
    assert 'put the call under `if __name__ == "__main__":`' in said.splitlines()[-1]
    guarded = TRAIN + "if __name__ == '__main__':\n    al.replicate(train, seeds=3, jobs=2)\n"
    assert run_script(guarded, tmp_path) == ""


def test_a_function_of_a_notebook_is_refused_at_once() -> None:
    code = TRAIN + "al.replicate(train, seeds=3, jobs=2)\n"
    done = subprocess.run([sys.executable, "-"], check=False, input=code, capture_output=True, text=True, timeout=100)
    assert "define it in a module, not within a function, as a lambda, or in a notebook" in done.stderr


SLEEPS = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import afterlaunch as al
def train(seed):
    time.sleep(60)
    return {"a": 1}
if __name__ == "__main__":
    al.replicate(train, seeds=4, jobs=2, progress=print)
"""


def test_an_interrupt_ends_it_and_its_processes(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text(SLEEPS, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(file)], stderr=subprocess.PIPE, text=True) as running:
        time.sleep(4)
        running.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, said = running.communicate(timeout=50)
    assert said.strip().endswith("KeyboardInterrupt")
    assert time.monotonic() - started < 20
