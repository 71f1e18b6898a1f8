"""`python -m medfm` is the command line."""

import sys

from medfm.cli import main

sys.exit(main())
