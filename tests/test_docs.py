"""The documentation: links, named tests and files exist, and drawings and contracts agree."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("personatalk/**/*.md")])


def script(name: str) -> ModuleType:
    """Import a file of scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their module
    spec.loader.exec_module(module)
    return module


def test_the_drawing_is_that_of_its_text() -> None:
    assert (ROOT / "docs/architecture.svg").read_text("utf-8") == script("draw_architecture").drawing()


def test_the_drawn_floors_are_the_import_contracts() -> None:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    found = re.search(r"^layers = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    layers = [layer.replace(" | ", ", ") for layer in re.findall(r'"([^"]+)"', found[1])]
    assert [name for name, _ in script("draw_architecture").floors()] == layers


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8")):
        assert ":" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_tests_exist(page: Path) -> None:
    for file, name in re.findall(r"`(?:tests/)?([\w/]*test_\w+\.py)(?:::(\w+))?", page.read_text("utf-8")):
        assert f"def {name}" in (ROOT / "tests" / file).read_text("utf-8"), f"{file}::{name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    folders = "|".join(path.name for path in (ROOT / "personatalk").iterdir() if (path / "__init__.py").exists())
    text = page.read_text("utf-8")
    for file in re.findall(rf"`((?:{folders})/(?!test_)\w+\.py)`", text):
        assert (ROOT / "personatalk" / file).exists(), file
    for file in re.findall(r"`?((?:benchmarks|scripts|examples)/\w+\.(?:py|sh))", text):
        assert (ROOT / file).exists(), file


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_fit_a_screen(page: Path) -> None:
    long = [line for line in page.read_text("utf-8").splitlines() if len(line) > 120 and not line.startswith("|")]
    assert not long


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 130
