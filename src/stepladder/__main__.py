"""`python -m stepladder` is the command `stepladder`; without --trust it imports nothing from the current directory."""

import os
import sys

import stepladder

here = os.getcwd()  # noqa: PTH109, pathlib is not imported yet, and could come from the current directory
if not sys.flags.safe_path and sys.path[:1] in ([""], [here]) and here not in stepladder.__path__[0]:
    del sys.path[0]  # where Python puts the current directory for -m

from stepladder.cli.entry import main  # noqa: E402

sys.exit(main())
