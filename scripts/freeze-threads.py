#!/usr/bin/env python3
"""Stops some threads of a process, as a wedge would, until it is gone.

    freeze-threads.py PID NAME    every thread whose name begins with NAME

The others go on, so the process looks alive from outside. By ptrace; needs the rights for it.
"""
import ctypes
import os
import pathlib
import sys
import time

PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4206, 0x4207

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def trace(request: int, thread: int) -> None:
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), f"thread {thread}")


process, name = int(sys.argv[1]), sys.argv[2]
tasks = pathlib.Path(f"/proc/{process}/task")
frozen = [int(task.name) for task in tasks.iterdir() if (task / "comm").read_text().startswith(name)]
if not frozen:
    sys.exit(f"process {process} has no thread {name}...")
for thread in frozen:
    trace(PTRACE_SEIZE, thread)
    trace(PTRACE_INTERRUPT, thread)
print(f"stopped {len(frozen)} of {len(list(tasks.iterdir()))} threads", flush=True)
while tasks.exists():
    # Whoever traces has to hear of each stop, or the threads could not even be killed.
    try:
        os.waitpid(-1, os.WNOHANG | 0x40000000)
    except ChildProcessError:
        pass
    time.sleep(0.1)
