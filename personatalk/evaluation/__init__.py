"""Measures dubbed videos against their references: see docs/evaluation.md for the definitions."""
