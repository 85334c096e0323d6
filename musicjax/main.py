"""Train an LSTM on a folder of MIDI and generate music with it: flags -> one command."""

from __future__ import annotations

import gc
import os
import sys

from musicjax import console
from musicjax.cli import flags, help
from musicjax.errors import RunError, SaveError, UsageError
from musicjax.version import __version__

# JAX makes many objects as it traces, and few of them are garbage. With Python's own thresholds, a sixth of the start
# goes into looking for it (LOG.md).
GARBAGE = (100_000, 50, 50)


def main(argv: list[str] | None = None) -> int:
    """Runs one command; its exit status: 0 done, 1 the run or its data failed, 2 wrong usage, 141 nobody read the
    results, 128 + the signal that stopped it."""
    is_program, argv = argv is None, sys.argv[1:] if argv is None else argv
    if is_program:
        gc.set_threshold(*GARBAGE)
        console.hold_streams()
    return console.end(_run(argv, is_program))


def _run(argv: list[str], is_program: bool) -> int:
    """The exit status of one command, whatever becomes of its results."""
    try:
        if set(help.WORDS) & set(argv):
            console.result("\n".join(help.lines_of(argv)))
            return 0
        if argv == [flags.VERSION]:
            console.result(f"musicjax {__version__}")
            return 0
        if argv[:1] == [flags.COMPLETION]:
            from musicjax.cli import completion  # few people ask for it, and once

            console.result(completion.script(argv[1:]).rstrip("\n"))
            return 0
        call = flags.parse(argv)
        from musicjax.cli import commands  # only now: wrong usage is reported without waiting for JAX

        if is_program:
            console.quiet_libraries()
        return commands.run(call)
    except (UsageError, RunError) as error:
        console.complain(str(error))
        if is_program and isinstance(error, SaveError):
            os._exit(1)  # the usual exit waits for all threads
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:  # before the commands have set their own handlers
        console.complain("stopped by SIGINT")
        return 130
    except OSError as error:
        console.complain(f"{error}; expected to read and write there; check permissions and space and start again")
        return 1
    except (MemoryError, ImportError) as error:
        if isinstance(error, ImportError) and "failed to map segment" not in str(error):
            raise
        console.complain(
            "out of memory while a library was loaded or used; close other programs, or give this one more (ulimit -v)"
        )
        return 1
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        console.complain(
            "out of memory; lower --config.model.units or --config.train.batch_size, or with trials "
            "--config.train.trial_group"
        )
        return 1


if __name__ == "__main__":
    sys.exit(main())
