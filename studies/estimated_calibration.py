"""Which calibration serves estimates without outcomes, and whether taking off what it gets wrong helps.

The error of the expected AUC and accuracy of a window, beside those under the true chances, for four calibrations of
the score, as they are ("plain") and with their error on the reference taken off ("corrected").

    python studies/estimated_calibration.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from _common import Floats, Task, add_up, arguments, blocks, markdown, seed_of, work
from scipy.special import expit, logit

from afterlaunch.stats.estimated_map import fit_map
from afterlaunch.stats.estimated_metrics import parts

METRICS = ("auc", "accuracy")
WINDOW = 5_000
BINS = 20
Map = Callable[[Floats], Floats]


def isotonic(s: Floats, y: Floats) -> Map:
    return fit_map(s, y)


def centred(s: Floats, y: Floats) -> Map:
    """Straight lines between the middles of blocks (Oron & Flournoy 2017, Statistics in Biopharmaceutical Research)."""
    found = fit_map(s, y)
    middle = np.bincount(found.block, s) / np.bincount(found.block)
    return lambda t: np.interp(t, middle, found.mean)


def binned(s: Floats, y: Floats) -> Map:
    edges = np.quantile(s, np.arange(1, BINS) / BINS)
    at = np.searchsorted(edges, s)
    mean = np.bincount(at, y, minlength=BINS) / np.maximum(np.bincount(at, minlength=BINS), 1)
    return lambda t: np.asarray(mean[np.searchsorted(edges, t)])


def logistic(s: Floats, y: Floats) -> Map:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=1e6).fit(logit(s)[:, None], y)
    return lambda t: np.asarray(fitted.predict_proba(logit(t)[:, None])[:, 1])


MAPS: dict[str, Callable[[Floats, Floats], Map]] = {
    "isotonic": isotonic,
    "centred isotonic": centred,
    "20 bins": binned,
    "logistic": logistic,
}


def draw(rng: np.random.Generator, n: int, shift: float, wavy: bool) -> tuple[Floats, Floats]:
    x = rng.normal(shift, 1.5, n)
    return expit(x), expit(0.8 * x + 0.3 + (0.8 * np.sin(3 * x) if wavy else 0.0))


def do(task: Task) -> dict[str, Any]:
    rng = seed_of(task)
    out = {f"{name}|{m}": {"plain": 0.0, "corrected": 0.0, "draws": 0} for name in MAPS for m in METRICS}
    for _ in range(task["repeats"]):
        s, chance = draw(rng, task["reference"], 0.0, task["wavy"])
        y = (rng.random(s.size) < chance).astype(float)
        t, truth = draw(rng, WINDOW, task["shift"], task["wavy"])
        h, g = (s >= 0.6).astype(int), (t >= 0.6).astype(int)
        for name, make in MAPS.items():
            found = make(s, y)
            for m in METRICS:
                real = parts(m, t, g, truth).value
                plain = parts(m, t, g, found(t)).value
                corrected = plain + parts(m, s, h, y).value - parts(m, s, h, found(s)).value
                entry = out[f"{name}|{m}"]
                entry["plain"] += (plain - real) ** 2
                entry["corrected"] += (corrected - real) ** 2
                entry["draws"] += 1
    return out


def main() -> int:
    given = arguments(__doc__).parse_args()
    repeats = given.repeats or (20 if given.quick else 200)
    tasks = [
        {"reference": m, "shift": shift, "wavy": wavy, "block": block, "repeats": size, "seed": given.seed}
        for m in (1_000, 10_000)
        for wavy in (False, True)
        for shift in (0.0, 1.0)
        for block, size in blocks(repeats, 50)
    ]
    grouped: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for task, result in work("estimated_calibration", tasks, do, given.jobs):
        grouped.setdefault((task["reference"], task["wavy"], task["shift"]), []).append(result)
    table = []
    for (m, wavy, shift), results in grouped.items():
        total = add_up(results)
        for key, t in total.items():
            name, metric = key.split("|")
            root = [f"{np.sqrt(t[k] / t['draws']):.4f}" for k in ("plain", "corrected")]
            table.append([name, metric, f"{m:,}", "wavy" if wavy else "rising", shift, *root])
    head = ["calibration", "metric", "reference", "P(y | score)", "shift", "plain", "corrected"]
    text = f"Root mean square error, {repeats} draws\n\n{markdown(head, table)}"
    print(text)
    if given.markdown is not None:
        given.markdown.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
