"""`python -m personatalk` is `personatalk`."""

import sys

from .cli.main import run_process

sys.exit(run_process())
