"""Builds pages of the documentation from what lies elsewhere in the repository.

The weights' cards, the changelog and the guide for contributors become pages; links between files of the repository
become links between pages. The page of the public names follows `personatalk/__init__.pyi`.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# Page of the site by path in the repository.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "examples/translate.md": "translate.md",
    **{
        f"personatalk/weights/{path.name}": f"cards/{path.name}" for path in (ROOT / "personatalk/weights").glob("*.md")
    },
}
# A public name, as the stub of the package gives it: the module that it lies in, and the name.
EXPORT = re.compile(r"^from \.([\w.]+) import (\w+) as \2$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def public_names() -> list[str]:
    """Return the lines that document the public names of the package."""
    stub = (ROOT / "personatalk/__init__.pyi").read_text("utf-8")
    lines: list[str] = []
    for module, name in EXPORT.findall(stub):
        if not name.startswith("_"):
            lines += ["", f"## {name}", "", f"::: personatalk.{module}.{name}"]
            lines += ["    options:", "      heading_level: 3"]
    return lines


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages; fill the page of the public names."""
    if page.file.src_uri == "api/index.md":
        markdown += "\n".join(public_names())
    there = {page: source for source, page in PAGES.items()}
    uri = page.file.src_uri
    folder = posixpath.dirname(there.get(uri, f"docs/{uri}"))

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[1]))
        goal = PAGES.get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if goal is None:
            return found[0]
        return f"]({posixpath.relpath(goal, posixpath.dirname(uri) or '.')}{found[2] or ''})"

    return LINK.sub(link, markdown)
