"""Runs trainings that die at a given moment: ``python killing.py``, a JSON order per line.

Everything is imported once; each order is a fork of this process, which has computed nothing yet.
``args`` go to ``tools/train.py``'s main. A moment is a file operation below ``folder``: Python
announces each one just before it happens (audit events), so nothing under test is replaced.

* ``event``: SIGKILL before that operation, counted from 0;
* ``event`` and ``limit``: from that operation on no file may grow beyond ``limit`` bytes, and the
  kernel ends the process within the write that would (SIGXFSZ, no handler): a part is written;
* ``after``: SIGKILL from outside after so many seconds;
* none of them: run to the end; the answer lists the operations.
"""

import io
import json
import os
import resource
import signal
import sys
import threading
import time
import types

import mmcv.utils
from mmcv.runner import iter_based_runner

from freekd import compat
from freekd.engine import checkpoint, data, hooks, resuming, train  # noqa: F401

compat.apply()
mmcv.utils.collect_env = dict  # asks compilers for their versions
iter_based_runner.time = types.SimpleNamespace(sleep=lambda _: None, time=time.time)


class Moments:
    """Counts file operations below a folder, and acts at the chosen one."""

    def __init__(self, folder, event, limit):
        self.folder, self.event, self.limit = folder, event, limit
        self.seen = []

    def __call__(self, name, args):
        if name == "open":
            path, mode, flags = args
            writes = flags & (os.O_WRONLY | os.O_RDWR) if isinstance(flags, int) else False
            if not writes:
                return
        elif name not in ("os.rename", "os.symlink", "os.remove"):
            return
        path = str(args[1] if name in ("os.rename", "os.symlink") else args[0])
        if not path.startswith(self.folder):
            return
        number = len(self.seen)
        self.seen.append(f"{name} {os.path.basename(path)}")
        if number != self.event:
            return
        if self.limit is None:
            os.kill(os.getpid(), signal.SIGKILL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.limit, self.limit))


def child(order, tell):
    sys.stdout = sys.stderr = io.StringIO()
    moments = Moments(order["folder"], order.get("event"), order.get("limit"))
    sys.addaudithook(moments)
    code = 1
    try:
        code = train.main(order["args"])
    except BaseException as error:
        print(repr(error))
    said = sys.stderr.getvalue()[-2000:]
    os.write(tell, json.dumps(dict(code=code, seen=moments.seen, said=said)).encode())
    os.close(tell)
    os._exit(0)


def run(order):
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        child(order, tell)
    os.close(tell)
    if order.get("after") is not None:
        timer = threading.Timer(order["after"], os.kill, (pid, signal.SIGKILL))
        timer.start()
    with os.fdopen(ready) as answer:
        text = answer.read()
    if order.get("after") is not None:
        timer.cancel()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return dict(signal=os.WTERMSIG(status))
    return json.loads(text)


for line in sys.stdin:
    print(json.dumps(run(json.loads(line))), flush=True)
