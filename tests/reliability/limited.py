"""The program with files limited to a size: `python -m tests.reliability.limited BYTES FLAGS...`."""

import resource
import sys

from musicjax import main

if __name__ == "__main__":
    size = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # Python ignores the signal, writing raises OSError
    del sys.argv[1]
    sys.exit(main.main())
