"""Watch a machine-learning model from launch to every weekly retrain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from afterlaunch.decide import InputError
from afterlaunch.finding import Effect, Finding, Review, Verdict
from afterlaunch.roles import Roles

if TYPE_CHECKING:
    from afterlaunch.config import Config
    from afterlaunch.exploring import Explored, explore
    from afterlaunch.measures import Custom, Mean, Quantile, Ratio, Share
    from afterlaunch.questions.clusters import clusters
    from afterlaunch.questions.compare import compare
    from afterlaunch.questions.drift import drift
    from afterlaunch.questions.experiment import experiment
    from afterlaunch.questions.interleaving import interleaving
    from afterlaunch.questions.launch import launch
    from afterlaunch.questions.loop import loop
    from afterlaunch.questions.off_policy import off_policy
    from afterlaunch.questions.plan import plan
    from afterlaunch.questions.summaries import experiment_summaries
    from afterlaunch.retrain.history import ClusterHistory
    from afterlaunch.retrain.kmeans import StableKMeans
    from afterlaunch.retrain.replicate import replicate
    from afterlaunch.stats.interleaving import team_draft

__version__ = "0.1.0"

__all__ = [
    "ClusterHistory",
    "Config",
    "Custom",
    "Effect",
    "Explored",
    "Finding",
    "InputError",
    "Mean",
    "Quantile",
    "Ratio",
    "Review",
    "Roles",
    "Share",
    "StableKMeans",
    "Verdict",
    "__version__",
    "clusters",
    "compare",
    "drift",
    "experiment",
    "experiment_summaries",
    "explore",
    "interleaving",
    "launch",
    "loop",
    "off_policy",
    "plan",
    "replicate",
    "team_draft",
]

_LAZY = {
    "ClusterHistory": "afterlaunch.retrain.history",
    "StableKMeans": "afterlaunch.retrain.kmeans",
    "Config": "afterlaunch.config",
    "Custom": "afterlaunch.measures",
    "Explored": "afterlaunch.exploring",
    "experiment_summaries": "afterlaunch.questions.summaries",
    "explore": "afterlaunch.exploring",
    "Mean": "afterlaunch.measures",
    "Quantile": "afterlaunch.measures",
    "Ratio": "afterlaunch.measures",
    "Share": "afterlaunch.measures",
    "clusters": "afterlaunch.questions.clusters",
    "compare": "afterlaunch.questions.compare",
    "drift": "afterlaunch.questions.drift",
    "experiment": "afterlaunch.questions.experiment",
    "interleaving": "afterlaunch.questions.interleaving",
    "launch": "afterlaunch.questions.launch",
    "loop": "afterlaunch.questions.loop",
    "off_policy": "afterlaunch.questions.off_policy",
    "plan": "afterlaunch.questions.plan",
    "replicate": "afterlaunch.retrain.replicate",
    "team_draft": "afterlaunch.stats.interleaving",
}


def __getattr__(name: str) -> Any:
    """Import what is heavy when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'afterlaunch' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
