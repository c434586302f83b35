"""Releasing a new version in stages: who gets which version, and what was decided when."""
