"""Evidently: `DataDriftPreset` with its default settings, results as a dict. Usage: REFERENCE PRODUCTION OUT."""

import json
import sys
from pathlib import Path

import pandas as pd
from evidently import Report  # type: ignore[import-not-found]
from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]


def main(reference: str, production: str, out: str) -> None:
    before, after = pd.read_parquet(reference), pd.read_parquet(production)
    results = Report([DataDriftPreset()]).run(after, before).dict()
    columns = {metric["config"]["column"] for metric in results["metrics"] if "column" in metric["config"]}
    Path(out).write_text(json.dumps({"columns": sorted(columns), "results": results}, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:4])
