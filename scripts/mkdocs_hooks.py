"""Pages of the documentation that lie elsewhere in the repository: the weights' cards, the changelog and the guide.

On the public host, links between them are paths in the repository; here they become links between pages.
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
    **{f"personatalk/weights/{path.name}": f"cards/{path.name}" for path in (ROOT / "personatalk/weights").glob("*.md")},
}
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie outside docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
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
