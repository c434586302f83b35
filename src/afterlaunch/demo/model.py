"""The model that the bank of the story trains: a small gradient-boosted classifier."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

SEED = 2008


@dataclass(frozen=True)
class Model:
    """A trained classifier and the columns it reads.

    Attributes:
        words: Columns of text that it reads.
        numbers: Columns of numbers that it reads.
        pipeline: Encoders and classifier of scikit-learn.
    """

    words: tuple[str, ...]
    numbers: tuple[str, ...]
    pipeline: Any

    @property
    def features(self) -> tuple[str, ...]:
        """Every column that it reads."""
        return self.words + self.numbers

    def score(self, calls: pl.DataFrame) -> NDArray[np.float64]:
        """Probability that the client subscribes, shape (n,).

        A column that is not there, or a value that is missing, is scored as missing: boosted
        trees accept that in silence, which is how such a fault gets into production.
        """
        with one_thread():
            scores: NDArray[np.float64] = self.pipeline.predict_proba(_matrix(calls, self.words, self.numbers))[:, 1]
        return scores


def train(calls: pl.DataFrame, features: Sequence[str], outcome: str, positive: str, seed: int = SEED) -> Model:
    """Train on calls whose outcome is known.

    Args:
        calls: One row a call.
        features: Columns to learn from, of text or numbers.
        outcome: The column to predict.
        positive: Its value to give the probability of.
        seed: Of what the training draws at random.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    words = tuple(c for c in features if calls.schema[c] == pl.String)
    numbers = tuple(c for c in features if c not in words)
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    pipeline = make_pipeline(
        ColumnTransformer([("words", encode, list(range(len(words))))], remainder="passthrough"),
        HistGradientBoostingClassifier(
            max_iter=80,
            max_leaf_nodes=15,
            categorical_features=list(range(len(words))),
            random_state=seed,
        ),
    )
    with one_thread():
        pipeline.fit(_matrix(calls, words, numbers), (calls[outcome] == positive).to_numpy())
    return Model(words, numbers, pipeline)


def one_thread() -> AbstractContextManager[Any]:
    """A small model gains nothing from more threads, and loses tenfold when they wait for a busy processor."""
    from threadpoolctl import threadpool_limits

    limited: AbstractContextManager[Any] = threadpool_limits(1, user_api="openmp")
    return limited


def _matrix(calls: pl.DataFrame, words: Sequence[str], numbers: Sequence[str]) -> NDArray[np.object_]:
    """Text columns, then numbers, shape (n, columns); None where a value or a column is missing."""
    kinds: dict[str, type[pl.DataType]] = {**dict.fromkeys(words, pl.String), **dict.fromkeys(numbers, pl.Float64)}
    return calls.select(
        (pl.col(c) if c in calls.columns else pl.lit(None)).cast(kind).alias(c) for c, kind in kinds.items()
    ).to_numpy()
