"""A process that does tasks of writing shards: it gets one a line, and answers each with a line.

`runners` starts it, and starts another if a file ends it. Run as a program it imports NumPy and nothing slower.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
from typing import Any

from musicjax.errors import RunError, UsageError

STARTED = b"\n"


def main() -> None:
    """Does the task of each line, {"module", "task"} as JSON, until standard input ends; answers each with a line.

    A first line says that it has started. A module of tasks has work(task), whose result is a JSON value.
    """
    importlib.import_module("musicjax.shards.read_task")  # so that no file has to wait for it
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # whoever asked is gone
    replies, sys.stdout = sys.stdout.buffer, sys.stderr  # nothing that a library prints may mix with the replies
    replies.write(STARTED)
    replies.flush()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        replies.write(json.dumps(_answer(request["module"], request["task"])).encode() + b"\n")
        replies.flush()


def _answer(module: str, task: dict[str, Any]) -> dict[str, Any]:
    """{"result": of the task}, or what it raised."""
    try:
        return {"result": importlib.import_module(f"musicjax.shards.{module}").work(task)}
    except OSError as error:
        return {"os_error": [error.errno, error.strerror or str(error), str(error.filename or "")]}
    except UsageError as error:
        return {"usage_error": str(error)}
    except RunError as error:
        return {"run_error": str(error)}
    except MemoryError:  # anything else that is raised ends the process, with its traceback on standard error
        return {"memory_error": True}


def result(answer: dict[str, Any]) -> Any:
    """The result that a process has answered; raises what it raised."""
    if "os_error" in answer:
        raise OSError(*answer["os_error"])
    if "usage_error" in answer:
        raise UsageError(answer["usage_error"])
    if "run_error" in answer:
        raise RunError(answer["run_error"])
    if "memory_error" in answer:
        raise MemoryError
    return answer["result"]


def how_it_ended(status: int | None, task: str) -> str:
    """How a process ended in the middle of a task, and what to do.

    Args:
        status: its exit status, or minus the signal that ended it; None: it ran out of memory.
        task: its name.
    """
    again, fewer = "start again to go on", "with fewer at once, --config.data.workers=1"
    if status is None:
        return f"a process ran out of memory in its {task}; expected room for it; {again}, {fewer}"
    if status >= 0:
        found = f"a process failed in its {task} with exit status {status}; expected a result"
        return f"{found}; its message is on standard error; {again}"
    name = signal.Signals(-status).name if -status in [*signal.Signals] else f"signal {-status}"
    found = f"a process was ended by {name} in the middle of its {task}"
    if name == "SIGKILL":
        return f"{found}, most likely for lack of memory; expected room for it; {again}, {fewer}"
    return f"{found}; make sure that nothing ends it; {again}"


if __name__ == "__main__":
    main()
