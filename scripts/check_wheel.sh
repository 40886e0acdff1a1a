#!/bin/sh
# Builds source distribution and wheel, checks both, and dubs the sample with the installed wheel, outside the
# repository. Arguments go to the pip that installs the wheel.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/tools"
"$folder/tools/bin/pip" install --quiet build twine
"$folder/tools/bin/python" -m build --outdir "$folder/dist"
"$folder/tools/bin/twine" check --strict "$folder"/dist/*
"${PYTHON:-python3}" -m venv "$folder/installed"
"$folder/installed/bin/pip" install --quiet -c "$root/constraints.txt" "$@" "$folder"/dist/*.whl
cd "$folder"
installed/bin/personatalk --version
installed/bin/personatalk dub --sample -o sample.mp4 --preset ultrafast
installed/bin/personatalk verify sample.mp4
