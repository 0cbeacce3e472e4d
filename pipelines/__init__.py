"""Pipelines: one file per corpus (a row becomes a Document) and one recipe per pipeline (YAML)."""
