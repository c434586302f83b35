"""Write one benchmark table: seeded, 20 numeric columns of mixed shapes and 10 categorical ones, as Parquet.

Run as `python data.py TABLE ROWS OUT [--unit]`. It runs in a process of its own so that the memory it takes never
counts in a measurement (a child's peak includes what its parent held when it was started).

Rows come in chunks of one million, each from its own seed, so a table of any size takes little memory to make, and
the smaller table is the head of the larger one.
"""

import argparse
import tempfile
import uuid
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

SEED = 20_261
CHUNK_ROWS = 1_000_000
ROW_GROUP = 250_000
UNITS = 200_000
LEVELS = (5, 6, 8, 10, 12, 16, 20, 25, 35, 50)
TABLES = ("reference", "production")
COMPRESSION: Literal["snappy"] = "snappy"

Floats = npt.NDArray[np.float64]


def _with_gaps(values: Floats, share: float, rng: np.random.Generator) -> pl.Series:
    """The values with a share of them missing (null, not NaN)."""
    return pl.Series(values).set(pl.Series(rng.random(len(values)) < share), None)


def numeric(rows: int, shift: float, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Twenty numeric columns; `shift` moves a third of them, in units of their spread or rate."""
    hump = rng.random(rows) < 0.4 + shift
    shapes: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64] | pl.Series] = {
        "normal": rng.normal(0.0, 1.0, rows),
        "normal_moved": rng.normal(shift, 1.0, rows),
        "normal_wider": rng.normal(50.0, 10.0 * (1.0 + shift), rows),
        "normal_large": rng.normal(1e6, 2e4, rows),
        "normal_gaps": _with_gaps(rng.normal(3.0, 2.0, rows), 0.03 + shift / 5, rng),
        "uniform": rng.random(rows),
        "beta": rng.beta(2.0, 8.0, rows),
        "fraction": rng.beta(1.5 + shift, 6.0, rows),
        "exponential": rng.exponential(30.0, rows),
        "gamma": rng.gamma(2.0, 15.0, rows),
        "lognormal": rng.lognormal(3.0, 0.8, rows),
        "lognormal_moved": rng.lognormal(3.0 + shift, 0.8, rows),
        "student": rng.standard_t(5, rows),
        "two_humps": np.where(hump, rng.normal(-2.0, 0.5, rows), rng.normal(2.0, 1.0, rows)),
        "mostly_zero": np.where(rng.random(rows) < 0.7, 0.0, rng.gamma(2.0, 5.0, rows)),
        "price": np.round(rng.lognormal(2.5, 0.6, rows), 2),
        "hours_gaps": _with_gaps(np.round(rng.gamma(3.0, 4.0, rows), 1), 0.05, rng),
        "count": rng.poisson(120.0 * (1.0 + shift / 5), rows),
        "rare_count": rng.geometric(0.02, rows),
        "age": rng.integers(18, 95, rows),
    }
    return {name: pl.Series(name, values) for name, values in shapes.items()}


def categorical(rows: int, shift: float, rng: np.random.Generator) -> dict[str, pl.Series]:
    """Ten text columns of 5 to 50 levels with Zipf-like shares; every third one is a little flatter when shifted."""
    columns: dict[str, pl.Series] = {}
    for index, levels in enumerate(LEVELS):
        name = f"kind_{levels:02d}"
        shares = np.arange(1, levels + 1, dtype=np.float64) ** -(0.8 - (shift if index % 3 == 0 else 0.0))
        codes = rng.choice(levels, size=rows, p=shares / shares.sum())
        names = pl.Series([f"level {code:02d}" for code in range(levels)])
        column = names.gather(codes)
        if index == 4:
            column = column.set(pl.Series(rng.random(rows) < 0.02), None)
        columns[name] = column.alias(name)
    return columns


def units(rows: int, rng: np.random.Generator) -> pl.Series:
    """A text unit for each row, drawn from the same 200,000 random UUIDs in every table and chunk."""
    raw = np.random.default_rng(SEED).bytes(16 * UNITS)
    names = pl.Series([str(uuid.UUID(bytes=raw[16 * i : 16 * i + 16], version=4)) for i in range(UNITS)])
    return names.gather(rng.integers(0, UNITS, rows)).alias("unit")


def chunk(table: str, index: int, rows: int, unit: bool) -> pl.DataFrame:
    """Chunk number `index` of a table; the columns other than `unit` are the same with and without it."""
    rng, unit_rng = np.random.default_rng([SEED, TABLES.index(table), index]).spawn(2)
    shift = 0.1 if table == "production" else 0.0
    columns = numeric(rows, shift, rng) | categorical(rows, shift, rng)
    if unit:
        columns["unit"] = units(rows, unit_rng)
    return pl.DataFrame(columns)


def write(table: str, rows: int, out: Path, unit: bool) -> None:
    """Write the table to `out`, in row groups; the file appears only when it is whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        parts = []
        for index, start in enumerate(range(0, rows, CHUNK_ROWS)):
            part = Path(folder) / f"part-{index:04d}.parquet"
            frame = chunk(table, index, min(CHUNK_ROWS, rows - start), unit)
            frame.write_parquet(part, compression=COMPRESSION, row_group_size=ROW_GROUP)
            parts.append(part)
        whole = parts[0]
        if len(parts) > 1:
            whole = Path(folder) / "whole.parquet"
            pl.scan_parquet(parts).sink_parquet(whole, compression=COMPRESSION, row_group_size=ROW_GROUP)
        whole.replace(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("rows", type=int)
    parser.add_argument("out", type=Path)
    parser.add_argument("--unit", action="store_true", help="add a text column of 200,000 UUIDs")
    arguments = parser.parse_args()
    write(arguments.table, arguments.rows, arguments.out, arguments.unit)


if __name__ == "__main__":
    main()
