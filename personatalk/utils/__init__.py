"""Helpers that know nothing of faces or media."""
