"""The effects of the drift check, their margins and what to do about them."""

from __future__ import annotations

from afterlaunch.decide import EffectKind

GROUPS = 10
"""Most groups of neighbouring numeric bins for PSI and Jensen-Shannon: deciles, as the usual margins assume."""

CATEGORIES = 50
"""Most categories compared one by one; rarer ones are compared together."""

KINDS = (
    EffectKind("psi", "PSI", "PSI", 0.1, "up", "0.1 is the customary border between no and some change (Siddiqi 2006)"),
    EffectKind("js", "Jensen-Shannon distance", "", 0.1, "up", "the customary threshold of monitoring tools"),
    EffectKind(
        "ks", "Kolmogorov-Smirnov distance", "share", 0.1, "up", "a tenth of the rows on the other side of some value"
    ),
    EffectKind(
        "wasserstein",
        "Wasserstein distance",
        "sd",
        0.1,
        "up",
        "a tenth of a standard deviation; Cohen (1988) calls 0.2 small",
    ),
    EffectKind("linf", "largest change of a category's share", "share", 0.1, "up", "ten points of share"),
    EffectKind("missing", "rise of the share missing", "share", 0.02, "up", "two points of share"),
    EffectKind(
        "new", "share in new categories", "share", 0.01, "up", "one row in a hundred that the model has never seen"
    ),
    EffectKind(
        "range", "share out of range", "share", 0.01, "up", "one row in a hundred that the model must extrapolate for"
    ),
    EffectKind(
        "type", "share of another type", "share", 0.01, "up", "a change of type breaks code that reads the column"
    ),
    EffectKind(
        "added", "share in a new column", "share", 0.01, "up", "for information: the reference has no such column"
    ),
)
KIND = {k.key: k for k in KINDS}

ACTION = {
    "shape": "Look at when it began and at the pipeline behind it; retrain on recent rows if the change is real.",
    "missing": "Find where the value gets lost between source and model; fill it as in training until then.",
    "new": "Decide what the model does with categories it has never seen; retrain once there are outcomes for them.",
    "range": "Check the unit and the source of the column; clip or retrain if the values are real.",
    "type": "Restore the type that the model was trained with, or convert before scoring.",
    "gone": "Find where it gets lost between source and model; if it is no feature, give it its role, such as outcome.",
    "added": "Nothing to do unless the column was meant for the model.",
}
