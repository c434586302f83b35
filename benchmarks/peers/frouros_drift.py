"""Frouros: PSI, JS, KS and EMD per numeric column, chi-square per text column. Usage: REFERENCE PRODUCTION OUT."""

import json
import sys
from pathlib import Path

import pandas as pd
from frouros.detectors.data_drift import EMD, JS, PSI, ChiSquareTest, KSTest  # type: ignore[import-not-found]

NUMERIC = {"psi": PSI, "js": JS, "ks": KSTest, "emd": EMD}


def main(reference: str, production: str, out: str) -> None:
    before, after = pd.read_parquet(reference), pd.read_parquet(production)
    results: dict[str, dict[str, list[float]]] = {}
    for column in before.columns:
        number = pd.api.types.is_numeric_dtype(before[column])
        kind = float if number else object
        # The detectors fail on missing values, so they go first.
        old, new = (frame[column].dropna().to_numpy(dtype=kind) for frame in (before, after))
        results[column] = {}
        for name, detector_class in (NUMERIC if number else {"chi2": ChiSquareTest}).items():
            detector = detector_class()
            detector.fit(X=old)
            results[column][name] = [float(value) for value in detector.compare(X=new)[0]]
    Path(out).write_text(json.dumps({"columns": sorted(results), "results": results}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
