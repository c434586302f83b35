"""Mergeable summaries of a table, counted by the engine that holds it.

`types` and `bins` say what a summary is; `count` asks an engine for it; `buckets` groups
dependent rows.
"""
