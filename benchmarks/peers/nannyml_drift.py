"""NannyML: `UnivariateDriftCalculator`, production as one chunk. Usage: REFERENCE PRODUCTION OUT [all|shared]."""

import json
import sys
from pathlib import Path

import nannyml  # type: ignore[import-not-found]
import pandas as pd

CONTINUOUS = ["kolmogorov_smirnov", "jensen_shannon", "wasserstein"]
CATEGORICAL = ["chi2", "jensen_shannon", "l_infinity"]
# "all" is every method it has; "shared" leaves out the one that ours does not compute.
EXTRA = {"all": ["hellinger"], "shared": []}


def main(reference: str, production: str, out: str, methods: str = "all") -> None:
    before, after = pd.read_parquet(reference), pd.read_parquet(production)
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=list(before.columns),
        continuous_methods=CONTINUOUS + EXTRA[methods],
        categorical_methods=CATEGORICAL + EXTRA[methods],
        chunk_number=1,
    )
    calculator.fit(before)
    frame = calculator.calculate(after).filter(period="analysis").to_df()
    results = {" / ".join(map(str, key)): value for key, value in frame.iloc[0].items()}
    columns = {key[0] for key in frame.columns} & set(before.columns)
    Path(out).write_text(json.dumps({"columns": sorted(columns), "results": results}, default=str))


if __name__ == "__main__":
    main(*sys.argv[1:5])
