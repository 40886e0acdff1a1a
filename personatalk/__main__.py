"""`python -m personatalk` is `personatalk`."""

import sys

from .cli.main import main

sys.exit(main())
