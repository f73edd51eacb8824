"""The guard: a tiny process between the gateway and a model's server that never lets the server outlive it.

Run as a script by ``process.py`` with an isolated interpreter, so it imports nothing of Podium. It starts the command
in its own process group, keeps the end of its output in two bounded files, and ends everything it started when

* the gateway closes the control pipe (standard input), which the kernel also does when the gateway is killed;
* the gateway writes ``stop SECONDS`` there;
* the command itself ends (left-over grandchildren are ended too).

Protocol on standard input: one line of JSON (argv, log, log_bytes, keep, stdin_bytes, cwd), then stdin_bytes for
the command's own standard input, then orders. On standard output: ``started PID`` or ``failed REASON``.
The exit status is the command's (128 + signal when a signal ended it).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ORPHAN_GRACE_S = 0.5
"""Between SIGTERM and SIGKILL when the gateway is gone."""


class Log:
    """The last ``limit`` bytes of output, at least half of it: ``path`` and, before it, ``path.1``."""

    def __init__(self, path: str, limit: int) -> None:
        self.path = path
        self.limit = max(limit // 2, 4096)
        self.fd = self._open()
        self.size = 0

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)

    def write(self, data: bytes) -> None:
        """Append; a full disk loses output, never the server."""
        with contextlib.suppress(OSError):
            if self.size + len(data) > self.limit and self.size:
                os.close(self.fd)
                os.replace(self.path, self.path + ".1")  # noqa: PTH105  # pathlib doubles the guard's start time
                self.fd = self._open()
                self.size = 0
            os.write(self.fd, data)
            self.size += len(data)


def prctl(option: int, value: int) -> None:
    """Linux only; elsewhere the control pipe alone does the work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def descendants(root: int) -> list[int]:
    """Process ids below ``root``, children first. Re-parented ones are found because the guard is a subreaper."""
    found: list[int] = []
    queue = [root]
    while queue:
        pid = queue.pop()
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # as above: no pathlib here
                with open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123  # as above: no pathlib here
                    below = [int(each) for each in file.read().split()]
                found += below
                queue += below
    return found


def signal_all(child: int, number: int) -> None:
    """Signal the command's process group and every other descendant, each once: many servers take a second SIGTERM
    for an order to drop their requests.
    """
    others = []
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if os.getpgid(pid) != child:
                others.append(pid)
    with contextlib.suppress(OSError):
        os.killpg(child, number)
    for pid in others:
        with contextlib.suppress(OSError):
            os.kill(pid, number)


def reap(child: int) -> int | None:
    """Collect everything that ended; the command's wait status once it did."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, code = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                status = code
    return status


def spawn(order: dict[str, object], stdin_fd: int, output_fd: int, error_fd: int) -> int:
    """Fork and execute the command. The guard has one thread, so running Python after the fork is safe."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setpgid(0, 0)
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(127)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        os.dup2(stdin_fd, 0)
        os.dup2(output_fd, 1)
        os.dup2(output_fd, 2)
        if order.get("cwd"):
            os.chdir(str(order["cwd"]))
        argv = [str(each) for each in order["argv"]]  # type: ignore[attr-defined]  # a JSON list by protocol
        os.execvp(argv[0], argv)  # noqa: S606  # starting this command is the guard's purpose
    except BaseException as error:  # noqa: BLE001  # a forked child must never return into the parent's code
        with contextlib.suppress(OSError):
            os.write(error_fd, str(error).encode())
    os._exit(127)


def read_line() -> bytes:
    """One line of standard input, unbuffered so that nothing after it is lost."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            sys.exit(0)
        line += byte
    return line


def read_exactly(count: int) -> bytes:
    """``count`` bytes of standard input."""
    data = b""
    while len(data) < count:
        piece = os.read(0, min(65536, count - len(data)))
        if not piece:
            sys.exit(0)
        data += piece
    return data


def main() -> int:
    """Run one command until it ends or has to end."""
    os.umask(0o077)
    first = read_line()
    if first.startswith(b"stop "):
        return 0  # the gateway gave up before it had asked for anything
    order = json.loads(first)
    payload = read_exactly(int(order["stdin_bytes"]))
    log = Log(order["log"], int(order["log_bytes"]))
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake_read, wake_write = os.pipe()
    for fd in (wake_read, wake_write):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    ending: list[float] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: ending.append(ORPHAN_GRACE_S))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    stdin_read, stdin_write = os.pipe()
    output_read, output_write = os.pipe()
    error_read, error_write = os.pipe()
    child = spawn(order, stdin_read, output_write, error_write)
    for fd in (stdin_read, output_write, error_write, *order["keep"]):
        os.close(fd)
    failure = os.read(error_read, 4096)
    os.close(error_read)
    report = f"failed {failure.decode(errors='replace')}" if failure else f"started {child}"
    with contextlib.suppress(OSError):
        os.write(1, (report.replace("\n", " ") + "\n").encode())
    return Watch(child, log, output_read, wake_read, ending).run(stdin_write, payload)


class Watch:
    """Pumps output, obeys orders, ends everything in time."""

    def __init__(self, child: int, log: Log, output_read: int, wake_read: int, ending: list[float]) -> None:
        self.child = child
        self.log = log
        self.ending = ending
        self.kill_at: float | None = None
        self.orders = b""
        self.output_read = output_read
        self.poll = select.poll()
        self.handlers: dict[int, Callable[[], object]] = {
            0: self.on_order,
            output_read: self.on_output,
            wake_read: lambda: os.read(wake_read, 4096),
        }
        for fd in self.handlers:
            self.poll.register(fd, select.POLLIN)

    def run(self, stdin_write: int, payload: bytes) -> int:
        """Return the exit status when the command is gone and so is everything it started."""
        self.feed(stdin_write, payload)
        while True:
            timeout = None if self.kill_at is None else max(0.0, self.kill_at - time.monotonic()) * 1000
            for fd, _events in self.poll.poll(timeout):
                self.handlers[fd]()
            status = reap(self.child)
            if status is not None:
                signal_all(self.child, signal.SIGKILL)
                drain(self.output_read, self.log)
                wait_for_rest()
                return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
            self.enforce()

    def enforce(self) -> None:
        """SIGTERM when told to end, SIGKILL when the grace is over; a later order can only shorten it."""
        now = time.monotonic()
        while self.ending:
            end = now + self.ending.pop()
            if self.kill_at is None:
                signal_all(self.child, signal.SIGTERM)
            self.kill_at = end if self.kill_at is None else min(self.kill_at, end)
        if self.kill_at is not None and now >= self.kill_at:
            signal_all(self.child, signal.SIGKILL)
            self.kill_at = now + 1.0

    def feed(self, fd: int, payload: bytes) -> None:
        """Give the command its standard input without waiting for it to read."""
        left = [payload]
        os.set_blocking(fd, False)

        def write() -> None:
            try:
                left[0] = left[0][os.write(fd, left[0]) :]
            except BlockingIOError:
                return
            except OSError:
                left[0] = b""
            if not left[0]:
                self.poll.unregister(fd)
                os.close(fd)

        if payload:
            self.handlers[fd] = write
            self.poll.register(fd, select.POLLOUT)
        else:
            os.close(fd)

    def on_output(self) -> None:
        """Log what the command printed."""
        if data := os.read(self.output_read, 65536):
            self.log.write(data)
        else:
            self.poll.unregister(self.output_read)

    def on_order(self) -> None:
        """``stop SECONDS``, or the gateway is gone."""
        data = os.read(0, 4096)
        self.orders += data
        if not data:
            self.poll.unregister(0)
            self.ending.append(ORPHAN_GRACE_S)
        elif self.orders.startswith(b"stop ") and self.orders.endswith(b"\n"):
            self.ending.append(float(self.orders.split()[1]))
            self.orders = b""


def wait_for_rest() -> None:
    """Until the killed grandchildren are gone, so that their memory is back; a second at most."""
    deadline = time.monotonic() + 1.0
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < deadline:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.005)


def drain(output_read: int, log: Log) -> None:
    """Take what is still in the pipe; a grandchild that holds it open must not keep the guard."""
    os.set_blocking(output_read, False)
    with contextlib.suppress(OSError):
        while data := os.read(output_read, 65536):
            log.write(data)


if __name__ == "__main__":
    sys.exit(main())
