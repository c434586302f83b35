"""The questions: which checks answer each, and on which tables."""
