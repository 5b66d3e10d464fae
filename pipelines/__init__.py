"""Pipelines: each reads as a sentence."""
