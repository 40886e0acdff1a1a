#!/bin/sh
# Makes the environment in .venv and dubs the embedded sample into sample_dubbed.mp4.
set -eu
cd "$(dirname "$0")/.."
"${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt .
.venv/bin/personatalk dub --sample -o sample_dubbed.mp4
