"""`python -m musicjax`: the program, where its script is not on the path."""

import sys

from musicjax import main

if __name__ == "__main__":
    sys.exit(main.main())
