"""`python -m leadline`: the command line."""

import sys

from leadline.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
