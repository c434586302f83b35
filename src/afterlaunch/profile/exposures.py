"""What a recommender's log says of exposure: impressions of every item in every window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from afterlaunch.profile.types import Floats, Ints
from afterlaunch.watch import Window


@dataclass(frozen=True)
class Exposures:
    """Impressions of items by window; windows that the log covers in part only are left out.

    Attributes:
        windows: The windows.
        every: Their length in words, such as "week".
        items: Names of the items, by their column in the arrays.
        shown: Impressions, shape (windows, items).
        chosen: Sum of outcomes over them, or None where there is no outcome.
        explored: Impressions that were filled by chance, the same for all items; None where that is not known.
        explored_chosen: Sum of outcomes over those.
        inverse: Sums of 1 / propensity, None without propensities.
        inverse_chosen: Sums of outcome / propensity.
        category: Number of each item's category, shape (items,), -1 for none; None without categories.
        categories: Names of categories.
        segments: Segment to impressions of its rows, shape (windows, items).
        born: Window number in which each item came into the catalogue, as a fraction, shape (items,); None when the
            log does not say.
        inflation: By how much rows of one unit that are alike inflate the variance of concentration.
        units: Whether there are units.
    """

    windows: tuple[Window, ...]
    every: str
    items: tuple[str, ...]
    shown: Floats
    chosen: Floats | None = None
    explored: Floats | None = None
    explored_chosen: Floats | None = None
    inverse: Floats | None = None
    inverse_chosen: Floats | None = None
    category: Ints | None = None
    categories: tuple[str, ...] = ()
    segments: Mapping[str, Floats] = field(default_factory=dict)
    born: Floats | None = None
    inflation: float = 1.0
    units: bool = False

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which items there were in each window, shape (windows, items).

        From the first window in which an item was shown to the last; always, for one that was never shown.
        """
        shown, windows = self.shown > 0, np.arange(len(self.windows))[:, None]
        ever = shown.any(axis=0)
        first = np.where(ever, shown.argmax(axis=0), 0)
        last = np.where(ever, len(shown) - 1 - shown[::-1].argmax(axis=0), len(shown))
        out: NDArray[np.bool_] = (windows >= first) & (windows <= last)
        return out
