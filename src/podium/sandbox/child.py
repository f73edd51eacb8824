"""The confined child: locks itself up, then runs code it was sent. Run as a script by ``box.py`` with an isolated
interpreter (``-I -S``), so it imports nothing of Podium and nothing that is installed.

Two processes: the launcher enters new namespaces and forks; the worker takes every right away from itself and runs the
code. Each layer that could be put in place is named in the report, none is assumed. Standard input holds one JSON
order, the file descriptor named in it takes reports, one JSON object a line.
"""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
import traceback

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = (
    0x20000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 16384, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
INODES = 512


class Report:
    """The pipe to the gateway. ``token`` shows that a line is ours and not printed by the code."""

    def __init__(self, fd: int, token: str) -> None:
        self.fd = fd
        self.token = token

    def send(self, **facts: object) -> None:
        """One line."""
        os.write(self.fd, json.dumps({"token": self.token, **facts}).encode() + b"\n")


def enter_namespaces(libc: object, folder: str, size: int) -> dict[str, str]:
    """New user, network, process and mount namespaces; an own small file system in memory over ``folder``."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC
    if libc.unshare(flags) != 0:  # type: ignore[attr-defined] # a ctypes library
        return {}
    try:
        for path, text in (
            ("/proc/self/setgroups", "deny"),
            ("/proc/self/uid_map", f"65534 {uid} 1"),
            ("/proc/self/gid_map", f"65534 {gid} 1"),
        ):
            with open(path, "w") as file:  # noqa: PTH123 # pathlib doubles the start time
                file.write(text)
    except OSError:
        return {"network": "namespace", "processes": "namespace"}
    found = {"network": "namespace", "processes": "namespace"}
    private = libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)  # type: ignore[attr-defined] # as above
    options = f"size={size},mode=0700,nr_inodes={INODES}".encode()
    target = folder.encode()
    if private == 0 and libc.mount(b"tmpfs", target, b"tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) == 0:  # type: ignore[attr-defined] # as above
        found["disk"] = "tmpfs"
    return found


def limit_resources(order: dict[str, object]) -> None:
    """CPU, memory, processes, file size, open files, core dumps. The CPU limit kills: a handler could ignore SIGXCPU."""
    cpu, memory, files = int(order["cpu_s"]), int(order["memory_bytes"]), int(order["file_bytes"])  # type: ignore[call-overload] # JSON numbers by protocol
    for kind, most in (
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, files),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 16),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)  # noqa: PLW2901 # never above what is allowed
        try:
            resource.setrlimit(kind, (most, most))
        except (OSError, ValueError):  # macOS knows no RLIMIT_AS
            continue


WRITES = re.compile(r"[waxr]?\+|[wax]")
WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
SOCKETS = ("socket.", "urllib.", "http.", "ftplib.", "smtplib.", "poplib.", "imaplib.", "nntplib.", "telnetlib.")
FORBIDDEN = frozenset(
    {
        "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "os.killpg",
        "os.startfile", "os.startfile/2", "pty.spawn", "subprocess.Popen", "signal.pthread_kill", "webbrowser.open",
        "mmap.__new__", "syslog.openlog", "resource.setrlimit", "resource.prlimit", "os.chroot", "gc.get_objects",
        "gc.get_referrers", "sys.settrace", "sys.setprofile",
    }
)  # fmt: skip
PATHS = frozenset(
    {"os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate",
     "os.utime", "os.setxattr", "os.removexattr", "os.chflags", "os.lchmod", "os.lchown", "shutil.rmtree", "sqlite3.connect"}
)  # fmt: skip


def writes(mode: object, flags: object) -> bool:
    """Whether a file is opened to be written."""
    if isinstance(mode, str):
        return WRITES.search(mode) is not None
    return isinstance(flags, int) and flags & WRITE_FLAGS != 0


def watch_events(folder: str) -> None:
    """The last line of defence, and the only one where the kernel offers none: Python's own audit events.

    They can be got round by native code, so ``ctypes`` is closed as well. Cannot be removed once set.
    """
    real = os.path.realpath(folder) + os.sep
    realpath, fspath, fsdecode = os.path.realpath, os.fspath, os.fsdecode

    def inside(path: object) -> bool:
        if isinstance(path, int):
            return True
        try:
            return (realpath(fsdecode(fspath(path))) + os.sep).startswith(real)  # type: ignore[call-overload] # fspath checks
        except (TypeError, ValueError):
            return False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if writes(mode, flags) and not inside(path):
                raise PermissionError(f"the sandbox does not let code write {path!r}")
        elif event in FORBIDDEN or event.startswith(SOCKETS) or event.startswith("ctypes."):
            raise PermissionError(f"the sandbox forbids {event}")
        elif event in PATHS and not all(inside(one) for one in arguments if isinstance(one, str | bytes)):
            raise PermissionError(f"the sandbox forbids {event} outside its folder")

    sys.addaudithook(hook)


def lock_up(order: dict[str, object], libc: object | None) -> dict[str, str]:
    """Take every right away from this process; returns which layers hold, by what they confine."""
    folder = str(order["folder"])
    found: dict[str, str] = {}
    limit_resources(order)
    layers = order["layers"]
    assert isinstance(layers, list)
    if libc is not None:
        sys.path.insert(0, str(order["home"]))
        import kernel  # type: ignore[import-not-found]  # noqa: PLC0415 # lies beside this script

        del sys.path[0]
        kernel.drop_capabilities(libc)
        if "landlock" in layers and kernel.restrict_files(libc, folder):
            found["files"] = "landlock"
        if "seccomp" in layers and kernel.filter_calls(libc):
            found |= {"network": "seccomp", "processes": "seccomp"}
    if "hook" in layers:
        watch_events(folder)
    return found


def where(error: BaseException, tests: str) -> str:
    """The failing line of the tests, or of the answer."""
    frames = traceback.extract_tb(error.__traceback__)
    for frame in reversed(frames):
        if frame.filename == "<tests>" and frame.lineno:
            return tests.splitlines()[frame.lineno - 1].strip()
    last = next((frame for frame in reversed(frames) if frame.filename == "<answer>"), None)
    return f"line {last.lineno} of the answer" if last else "the answer"


def run_tests(order: dict[str, object]) -> tuple[bool, str]:
    """Whether the tests pass on the code, and why not."""
    tests = str(order["tests"])
    space: dict[str, object] = {"__name__": "answer", "__builtins__": __builtins__}
    try:
        exec(compile(str(order["code"]), "<answer>", "exec"), space)  # noqa: S102 # this process exists to do that
        exec(compile(tests, "<tests>", "exec"), space)  # noqa: S102 # as above
    except BaseException as error:  # noqa: BLE001 # whatever the code raises is its failure, SystemExit too
        return False, f"{type(error).__name__}: {str(error)[:80]} at {where(error, tests)[:100]}"
    return True, ""


def search(order: dict[str, object]) -> tuple[bool, str]:
    """Whether the pattern is found."""
    return re.search(str(order["pattern"]), str(order["text"])) is not None, ""


def work(order: dict[str, object], libc: object | None, report: Report, outer: dict[str, str]) -> int:
    """The worker: lock up, report how, run, report what came of it."""
    if libc is not None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # type: ignore[attr-defined] # a ctypes library
    os.chdir(str(order["folder"]))
    inner = lock_up(order, libc)
    rest = "audit hook" if "hook" in order["layers"] else "nothing"  # type: ignore[operator] # a list by protocol
    os.environ.clear()
    both = {
        what: " + ".join([layer for layer in (outer.get(what), inner.get(what)) if layer] or [rest])
        for what in ("network", "processes", "files")
    }
    report.send(confinement={**both, "disk": outer.get("disk", "file size limit"), "resources": "rlimit"})
    passed, why = run_tests(order) if order["mode"] == "tests" else search(order)
    report.send(passed=passed, why=why)
    return 0


def main() -> int:
    """Start the worker and wait for it."""
    order = json.loads(sys.stdin.buffer.readline())
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    report = Report(int(order["report"]), order.pop("token"))
    libc = None
    outer: dict[str, str] = {}
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 # nothing else needs it

        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != order["parent"]:
            return 71  # the gateway died before it could take us with it
        if "namespaces" in order["layers"]:
            outer = enter_namespaces(libc, order["folder"], int(order["disk_bytes"]))
    worker = os.fork()
    if worker == 0:
        status = 70
        try:
            status = work(order, libc, report, outer)
        finally:
            os._exit(status)
    _, status = os.waitpid(worker, 0)
    report.send(status=status)
    return 0


if __name__ == "__main__":
    sys.exit(main())
