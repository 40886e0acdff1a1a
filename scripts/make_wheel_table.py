"""Writes which wheels the package index has of the default installation's dependencies: tests/data/wheels.json.

For every supported system and Python, pip is asked what it would install of binary wheels alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import tomllib
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests" / "data" / "wheels.json"
# Tags of the oldest systems that are looked at.
SYSTEMS = {
    "linux-x86_64": tuple(f"manylinux{version}_x86_64" for version in ("_2_28", "_2_27", "2014")),
    "linux-arm64": tuple(f"manylinux{version}_aarch64" for version in ("_2_28", "_2_27", "2014")),
    "macos-arm64": ("macosx_14_0_arm64",),
    "windows-x86_64": ("win_amd64",),
}
# Pythons that are supported.
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")


def wheels(requirements: list[str], tags: tuple[str, ...], python: str) -> dict[str, str]:
    """Return the version of each distribution whose wheel fits; those without one are absent."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
        command += ["--only-binary=:all:", "--python-version", python, "--target", folder, "--report", str(report)]
        command += [word for tag in tags for word in ("--platform", tag)]
        done = subprocess.run([*command, *requirements], capture_output=True, text=True)
        if done.returncode == 0:
            installed = json.loads(report.read_text("utf-8"))["install"]
            return {one["metadata"]["name"].lower().replace("_", "-"): one["metadata"]["version"] for one in installed}
    if len(requirements) == 1:
        return {}
    found = [wheels([requirement], tags, python) for requirement in requirements]
    return {name: version for one in found for name, version in one.items()}


def main() -> None:
    """Ask pip, and write the table."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    requirements = [Requirement(one) for one in declared]
    table = {}
    for python in PYTHONS:
        for system, tags in SYSTEMS.items():
            there = {"python_version": python, "platform_machine": "x86_64" if "x86_64" in system else "arm64"}
            wanted = [one for one in requirements if one.marker is None or one.marker.evaluate(there)]
            plain = [f"{one.name}{one.specifier}" for one in wanted]
            table[f"{system}, Python {python}"] = wheels(plain, tags, python)
    TABLE.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
