"""`python -m personatalk` is `personatalk`."""

import sys

from .cli import main

sys.exit(main())
