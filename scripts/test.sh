#!/bin/sh
# Makes the environment in .venv, checks style, types, imports and docs, and runs the tests on the installed package.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt '.[dev]'
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
.venv/bin/lint-imports
NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet --strict
.venv/bin/pytest -n auto --dist loadfile
