"""Evidence made of two frames, as the reader would hand it over, for tests of single checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from afterlaunch.checks.evidence import Check, Evidence, Sample
from afterlaunch.decide import Margins, decide
from afterlaunch.finding import Finding
from afterlaunch.profile.types import ColumnCounts, Kind, Profile
from afterlaunch.roles import Roles


def kind_of(dtype: pl.DataType) -> Kind:
    if dtype.is_numeric():
        return "numeric"
    if dtype.is_temporal():
        return "time"
    return "other" if dtype.is_nested() else "category"


def profile(frame: pl.DataFrame, bucket: np.ndarray | None = None) -> Profile:
    """A profile that counts rows and missing values only."""
    groups = 64 if bucket is not None else 1
    where = bucket if bucket is not None else np.zeros(frame.height, dtype=np.int64)
    zero = np.zeros(groups, dtype=np.int64)
    columns = {}
    for name, column in frame.to_dict().items():
        absent = (column.is_null() | column.is_nan()) if column.dtype.is_float() else column.is_null()
        missing = np.bincount(where, absent.to_numpy(), minlength=groups).astype(np.int64)
        empty = np.zeros((groups, 0), dtype=np.int64)
        columns[name] = ColumnCounts(name, kind_of(column.dtype), None, empty, missing, zero, zero, zero)
    kinds = {name: kind_of(dtype) for name, dtype in frame.schema.items()}
    return Profile("rows", np.bincount(where, minlength=groups).astype(np.int64), columns, kinds)


def evidence(
    reference: pl.DataFrame,
    production: pl.DataFrame,
    roles: Roles | None = None,
    *,
    buckets: tuple[np.ndarray, np.ndarray] | None = None,
    **more: Any,
) -> Evidence:
    kinds: list[Mapping[str, Kind]] = [{n: kind_of(d) for n, d in f.schema.items()} for f in (reference, production)]
    a, b = buckets if buckets is not None else (None, None)
    return Evidence(
        roles=roles or Roles(),
        reference_kinds=kinds[0],
        production_kinds=kinds[1],
        reference=profile(reference, a),
        production=profile(production, b),
        reference_sample=Sample(reference, reference.height, 0),
        production_sample=Sample(production, production.height, 0),
        **more,
    )


def findings(check: Check, given: Evidence, **margins: float) -> dict[str, Finding]:
    """The findings of one check by "key@subject", each of them sound."""
    out = {}
    for f in decide(check.run(given), margins=Margins(margins), primary=(check.name,)):
        assert f.sentence.endswith((".", ")")), f.sentence
        assert "nan" not in f.sentence.split()
        assert f.key in {k.key for k in check.kinds}
        Finding.from_dict(f.to_dict())
        assert f"{f.key}@{f.subject}" not in out, "two findings of one id"
        out[f"{f.key}@{f.subject}"] = f
    return out


def alarms(found: Mapping[str, Finding]) -> set[str]:
    return {name for name, f in found.items() if f.verdict == "alarm"}
