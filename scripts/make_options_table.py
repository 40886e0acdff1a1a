"""Make `docs/options.md`, the table of the options of `personatalk dub`, from their declarations in the package.

From the repository's root:

    python scripts/make_options_table.py
"""

from __future__ import annotations

from pathlib import Path

from personatalk.cli.dub import HEADINGS
from personatalk.pipeline.options import DubOptions, WeightPaths
from personatalk.utils.options import options_table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "options.md"
HEAD = """\
# Options

Options of `personatalk dub`, and of `personatalk batch` and `personatalk serve` for all their jobs. In Python they are
the fields of `DubOptions` and `WeightPaths`; in a list for `batch` those of `DubOptions` are columns, without `--` and
`no-`. This page is made from their declarations by `scripts/make_options_table.py`.

"""


def page() -> str:
    """Return the text of the page."""
    return HEAD + options_table(HEADINGS, DubOptions, WeightPaths)


if __name__ == "__main__":
    PAGE.write_text(page())
