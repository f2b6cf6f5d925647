"""`python -m stepladder` is `stepladder`."""

import sys

from stepladder.cli import main

sys.exit(main())
