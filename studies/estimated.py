"""Metrics without outcomes: how far off beside NannyML's CBPE, and whether prediction intervals keep their promise.

Part 1 estimates AUC and accuracy of chunks of 5,000 rows of two real tables whose outcomes are known, with ours and
with NannyML's CBPE on the same chunks (NannyML runs in an interpreter of its own, `--nannyml PYTHON`; it gets the
tables as files). Part 2 draws windows whose rows are shifted while P(y | x) stays as it was, and counts how often
the 95 % prediction interval holds the realised metric.

    python studies/estimated.py --nannyml PYTHON
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from _common import Floats, Task, add_up, arguments, blocks, data_folder, markdown, per_cent, seed_of, work
from scipy.special import expit

from afterlaunch.checks.evidence import Evidence, Sample
from afterlaunch.checks.performance_rows import Estimator
from afterlaunch.roles import Roles
from afterlaunch.stats.estimated import Estimated, Learned, Rows
from afterlaunch.stats.estimated_metrics import parts

CHUNK = 5_000
TABLES = {
    "acs_employment_ma": ("employed", "predicted_probability", "prediction"),
    "car_loan": ("repaid", "y_pred_proba", "y_pred"),
}
METRICS = ("auc", "accuracy")
TOLERANCE = 0.02
"""How far coverage may be from 95 %."""

CBPE = """
import json, sys
import pandas as pd
import nannyml as nml
out, names = {}, {"auc": "roc_auc", "accuracy": "accuracy"}
cbpe = nml.CBPE(y_true="y", y_pred="p", y_pred_proba="s", problem_type="classification_binary",
                metrics=list(names.values()), chunk_size=int(sys.argv[2]))
cbpe.fit(pd.read_parquet(sys.argv[1] + "/reference.parquet"))
found = cbpe.estimate(pd.read_parquet(sys.argv[1] + "/analysis.parquet")).filter(period="analysis").to_df()
for ours, theirs in names.items():
    out[ours] = [float(v) for v in found[(theirs, "value")]]
print(json.dumps(out))
"""


# ------------------------------------------------------------------ real chunks


def tables(folder: Path, name: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reference and log with outcome y, score s and prediction p, in the order they came."""
    y, s, p = TABLES[name]
    reference, log = (pl.read_parquet(folder / name / f"{part}.parquet") for part in ("reference", "analysis"))
    target = pl.read_parquet(folder / name / "analysis_target.parquet")
    log = log.join(target, on="id", how="left", maintain_order="left")
    names = {y: "y", s: "s", p: "p"}
    return reference.rename(names), log.rename(names)


def rows(frame: pl.DataFrame, chance: Floats | None = None) -> Rows:
    y, s, p = (frame[c].cast(pl.Float64).to_numpy() for c in ("y", "s", "p"))
    return Rows(s, y if chance is None else chance, p.astype(np.int64))


def chunks(folder: Path, name: str) -> dict[str, dict[str, list[Any]]]:
    """Estimate, realised value and interval of every whole chunk, by metric."""
    reference, log = tables(folder, name)
    known = Learned(rows(reference))
    # What chunks of the reference differ by beyond that, as the check learns it from the reference's windows.
    normal = {m: known.unexplained(m, np.arange(reference.height) // CHUNK) or (0.0, np.inf) for m in METRICS}
    out: dict[str, dict[str, list[Any]]] = {m: {"estimate": [], "real": [], "inside": []} for m in METRICS}
    for start in range(0, log.height - CHUNK + 1, CHUNK):
        part = log[start : start + CHUNK]
        here = rows(part, known.chances(part["s"].to_numpy()))
        truth = rows(part)
        for m in METRICS:
            found = known.estimate(m, here, unexplained=normal[m])
            real = parts(m, truth.score, truth.predicted, truth.chance).value
            low, high = found.realised(0.025, 0.025)
            out[m]["estimate"].append(found.value)
            out[m]["real"].append(real)
            out[m]["inside"].append(low <= real <= high)
    return out


def peer(python: Path, folder: Path, name: str) -> dict[str, list[float]]:
    """NannyML's estimates of the same chunks."""
    reference, log = tables(folder, name)
    with tempfile.TemporaryDirectory() as place:
        columns = [pl.col(c).cast(pl.Float64) for c in ("y", "s", "p")]
        reference.select(columns).write_parquet(Path(place) / "reference.parquet")
        log.select(columns[1:]).write_parquet(Path(place) / "analysis.parquet")
        script = Path(place) / "cbpe.py"
        script.write_text(CBPE, encoding="utf-8")
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"NML_DISABLE_USAGE_LOGGING": "1"}
        done = subprocess.run(
            [str(python), "-W", "ignore", str(script), place, str(CHUNK)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"NannyML failed on {name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, list[float]] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


# ------------------------------------------------------------------ simulated shift


def settings(quick: bool) -> list[Task]:
    """Reference rows, window rows, how the rows shift, and whether calibration is reweighted for it."""
    out = [
        {"shift": shift, "reference": m, "rows": n, "how": how}
        for shift, how in (("none", "plain"), ("score", "plain"), ("hidden feature", "weighted"))
        for m, n in ((2_000, 500), (10_000, 1_000), (10_000, 5_000))
    ]
    return out[::3] if quick else out


def drawn(rng: np.random.Generator, n: int, shift: str = "none", hidden: bool = False) -> pl.DataFrame:
    """A model that sees x; the outcome given x and z is always the same, and z matters where it is hidden."""
    x = rng.normal(0.7 if shift == "score" else 0.0, 1.2, n)
    z = rng.normal(0.6 if shift == "hidden feature" else 0.0, 1.0, n)
    s = expit(x)
    chance = expit(0.9 * x - 0.3 + (0.6 * z + 0.3 * x * z if hidden else 0.0))
    y = (rng.random(n) < chance).astype(float)
    return pl.DataFrame({"x": x, "z": z, "s": s, "p": (s >= 0.5).astype(np.int64), "y": y})


def once(rng: np.random.Generator, task: Task) -> dict[str, tuple[Estimated, float, float]]:
    """Estimate, realised value and the estimate without weights, by metric."""
    hidden = task["shift"] == "hidden feature"
    reference = drawn(rng, task["reference"], hidden=hidden)
    window = drawn(rng, task["rows"], task["shift"], hidden)
    truth = rows(window)
    known = Learned(rows(reference))
    plain = rows(window, known.chances(truth.score))
    weighted = None
    if task["how"] == "weighted":
        roles = Roles(outcome="y", score="s", prediction="p", features=("x", "z"))
        evidence = Evidence(
            roles,
            "binary",
            reference_sample=Sample(reference, reference.height, 0),
            production_sample=Sample(window, window.height, 0),
        )
        found = Estimator(evidence).shift(np.arange(window.height))
        assert found is not None
        at, importance = found[0]
        weighted = Learned(rows(reference[at]), importance)
    out = {}
    for m in METRICS:
        real = parts(m, truth.score, truth.predicted, truth.chance).value
        first = known.estimate(m, plain)
        best = first
        if weighted is not None:
            best = weighted.estimate(m, rows(window, weighted.chances(truth.score)))
        out[m] = best, real, first.value
    return out


def do(task: Task) -> dict[str, Any]:
    rng, out = seed_of(task), {m: {"inside": 0, "off": 0.0, "plain": 0.0, "draws": 0} for m in METRICS}
    for _ in range(task["repeats"]):
        for m, (found, real, plain) in once(rng, task).items():
            low, high = found.realised(0.025, 0.025)
            out[m]["inside"] += low <= real <= high
            out[m]["off"] += abs(found.value - real)
            out[m]["plain"] += abs(plain - real)
            out[m]["draws"] += 1
    return json.loads(json.dumps(out, default=int))  # type: ignore[no-any-return]


# ------------------------------------------------------------------ report


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder of the real tables")
    parser.add_argument("--nannyml", type=Path, default=None, help="Python interpreter that has NannyML")
    given = parser.parse_args()
    folder, failed, text = data_folder(given.data), [], ""
    table = []
    for name in TABLES:
        ours = chunks(folder, name)
        theirs = peer(given.nannyml, folder, name) if given.nannyml is not None else None
        for m in METRICS:
            real = np.array(ours[m]["real"])
            mine = float(np.abs(np.array(ours[m]["estimate"]) - real).mean())
            other = None if theirs is None else float(np.abs(np.array(theirs[m][: real.size]) - real).mean())
            inside = float(np.mean(ours[m]["inside"]))
            table.append(
                [f"{name}, {m}", real.size, f"{mine:.5f}", "–" if other is None else f"{other:.5f}", per_cent(inside)]
            )
            if other is not None and mine > other:
                failed.append(f"{m} of {name} is off by {mine:.5f}, NannyML by {other:.5f}")
    head = ["chunks of 5,000 rows", "chunks", "mean absolute error", "NannyML's CBPE", "inside the 95 % interval, %"]
    text += f"{markdown(head, table)}\n\n"
    repeats = given.repeats or (40 if given.quick else 1000)
    tasks = [
        {**setting, "block": block, "repeats": size, "seed": given.seed}
        for setting in settings(given.quick)
        # A domain classifier for every draw takes thirty times as long.
        for block, size in blocks(repeats if setting["how"] == "plain" or given.quick else repeats // 4, 50)
    ]
    grouped: dict[str, list[dict[str, Any]]] = {}
    for task, result in work("estimated", tasks, do, given.jobs):
        key = json.dumps([task["shift"], task["reference"], task["rows"], task["how"]])
        grouped.setdefault(key, []).append(result)
    table = []
    for key, results in grouped.items():
        shift, reference, size, how = json.loads(key)
        total = add_up(results)
        for m in METRICS:
            t = total[m]
            cover, error = t["inside"] / t["draws"], 2 * np.sqrt(0.95 * 0.05 / t["draws"])
            table.append(
                [f"{shift}, {m}", f"{reference:,}", f"{size:,}", how, per_cent(cover),
                 f"{t['off'] / t['draws']:.4f}", f"{t['plain'] / t['draws']:.4f}"]
            )  # fmt: skip
            if abs(cover - 0.95) > TOLERANCE + error:
                failed.append(f"{shift}, {m}, {reference} and {size} rows: {per_cent(cover)} % are inside")
    head = ["shift", "reference", "rows", "calibration", "inside 95 %, %", "mean absolute error", "without weights"]
    text += f"{repeats} draws, a quarter of them where calibration is reweighted\n\n{markdown(head, table)}"
    print(text)
    print("\n".join(failed) or "Every promise is kept.")
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
