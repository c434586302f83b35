"""The registry of checks: adding one is a file of its own and one line here."""

from afterlaunch.checks import (
    amplification,
    availability,
    churn,
    clusters,
    concentration,
    concept,
    detectable,
    domain,
    drift,
    effect,
    gap,
    interleaving,
    leakage,
    lists,
    metric,
    mix,
    novelty,
    off_policy,
    performance,
    popularity,
    position,
    rescore,
    scores,
    seeds,
    skew,
    trust,
)
from afterlaunch.checks.evidence import Check, Evidence, Sample

__all__ = ["CHECKS", "Check", "Evidence", "Sample"]

CHECKS: dict[str, Check] = {
    check.name: check
    for check in (
        metric.CHECK,
        availability.CHECK,
        leakage.CHECK,
        skew.CHECK,
        position.CHECK,
        rescore.CHECK,
        gap.CHECK,
        drift.CHECK,
        domain.CHECK,
        novelty.CHECK,
        performance.CHECK,
        concept.CHECK,
        churn.CHECK,
        scores.CHECK,
        lists.CHECK,
        mix.CHECK,
        seeds.CHECK,
        clusters.CHECK,
        trust.CHECK,
        effect.CHECK,
        detectable.CHECK,
        off_policy.CHECK,
        interleaving.CHECK,
        amplification.CHECK,
        concentration.CHECK,
        popularity.CHECK,
    )
}
"""Every check by name."""
