"""Code nobody vouches for is confined: by the kernel where it can be, by Python's audit events everywhere."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from podium.sandbox import Limits, Sandbox
from podium.sandbox.box import LAYERS

pytestmark = pytest.mark.requirement("LRN-6")
LIMITS = Limits(wall_s=6.0, cpu_s=1, output_bytes=200_000)
TESTS = "assert f(1) == 2"
GOOD = "def f(x):\n    return x + 1\n"


@pytest.fixture(scope="module")
def box() -> Sandbox:
    return Sandbox(LIMITS)


@pytest.fixture(scope="module")
def kernel() -> Sandbox:
    """Every layer of the kernel and no audit hook, so that a test sees what the kernel alone refuses."""
    sandbox = Sandbox(LIMITS, tuple(layer for layer in LAYERS if layer != "hook"))
    if "seccomp" not in sandbox.confinement()["network"] or sandbox.confinement()["files"] != "landlock":
        pytest.skip(f"this kernel offers less: {dict(sandbox.confinement())}")
    return sandbox


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def leftovers() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("podium-sandbox-*"))


def test_code_that_is_right_passes_and_code_that_is_wrong_says_where(box):
    assert box.run_tests(GOOD, TESTS).score == 1.0
    wrong = box.run_tests("def f(x):\n    return x\n", TESTS)
    assert wrong.score == 0.0
    assert "AssertionError" in wrong.why
    assert TESTS in wrong.why
    assert "line 2 of the answer" in box.run_tests("x = 1\n1 / 0", TESTS).why


def test_the_confinement_in_force_is_stated(box):
    found = box.confinement()
    assert set(found) == {"network", "processes", "files", "disk", "resources"}
    assert "nothing" not in found.values()


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("while True: pass", "CPU"),
        ("x = bytearray(10 * 2**30)", "MemoryError"),
        ("x = []\nwhile True: x.append(bytearray(10**7))", "MemoryError"),
        ("import os\nwhile True: os.fork()", "forbids os.fork"),
        ("import subprocess\nsubprocess.run(['id'])", "forbids subprocess.Popen"),
        ("import socket\nsocket.create_connection(('127.0.0.1', 1))", "forbids socket"),
        ("f = open('x', 'wb')\nfor _ in range(1000): f.write(b'x' * 10**6)", "File too large"),
        ("print('x' * 10**8)", "printed more than"),
        ("import os\nos._exit(0)", "ended before its tests"),
        ("import sys\nsys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import ctypes\nctypes.CDLL(None).abort()", "forbids ctypes"),
        ("import os\nos.kill(os.getppid(), 9)", "forbids os.kill"),
        ("input()", "EOFError"),
        ("import podium", "ModuleNotFoundError"),
        ("import os\nos.abort()", "ended by"),
    ],
)
def test_what_code_must_not_do_fails_with_the_reason(box, code, why):
    grade = box.run_tests(code, TESTS)
    assert grade.score == 0.0
    assert why in grade.why


def test_a_sleeper_is_ended_with_everything_it_started():
    started = time.monotonic()
    grade = Sandbox(Limits(wall_s=1.0)).run_tests("import time\ntime.sleep(60)", TESTS)
    assert grade.why == "took longer than 1 s"
    assert time.monotonic() - started < 15


def test_threads_files_in_the_own_folder_and_the_standard_library_work(box):
    code = (
        "import collections, dataclasses, datetime, decimal, functools, heapq, itertools, json, math, random, re\n"
        "import statistics, string, threading, typing, unittest, os\n"
        "done = []\nthread = threading.Thread(target=lambda: done.append(1))\nthread.start()\nthread.join()\n"
        "open('note', 'w').write('hi')\nassert open('note').read() == 'hi' and os.listdir('.') == ['note']\n"
        "os.remove('note')\nassert done and not os.environ\n"
    )
    grade = box.run_tests(code + GOOD, TESTS)
    assert grade.score == 1.0, grade.why


KERNEL = {
    "socket": ("import socket\nsocket.socket()", "PermissionError"),
    "unix socket": ("import socket\nsocket.socketpair()", "PermissionError"),
    "fork": ("import os\nos.fork()", "PermissionError"),
    "exec": ("import os\nos.execv('/bin/true', ['true'])", "PermissionError"),
    "spawn": ("import subprocess\nsubprocess.run(['/bin/true'])", "PermissionError"),
    "signal": ("import os\nos.kill(os.getppid(), 0)", "PermissionError"),
    "group": ("import os\nos.setsid()", "PermissionError"),
    "read": ("open('/etc/passwd').read()", "PermissionError"),
    "list": ("import os\nos.listdir('/')", "PermissionError"),
    "write": ("open('/tmp/podium-evil', 'w')", "PermissionError"),
    "delete": ("import os\nos.remove(VICTIM)", "Error"),
    "limits": ("import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))", "Error"),
    "memory file": ("import os\nos.memfd_create('x')", "PermissionError"),
    "raw call": ("import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.socket(2, 1, 0) >= 0", "Error"),
    "raw mount": (
        "import ctypes\nassert ctypes.CDLL(None).mount(b'x', b'/', b'tmpfs', 0, None) == 0",
        "AssertionError",
    ),
    "io_uring": ("import ctypes\nassert ctypes.CDLL(None).syscall(425, 8, b'x' * 200) >= 0", "AssertionError"),
}


@pytest.mark.parametrize(("code", "why"), KERNEL.values(), ids=KERNEL)
def test_the_kernel_alone_refuses(kernel, tmp_path, code, why):
    victim = tmp_path / "victim"
    victim.write_text("keep me")
    grade = kernel.run_tests(f"VICTIM = {str(victim)!r}\n{code}", TESTS)
    assert grade.score == 0.0
    assert why in grade.why
    assert victim.read_text() == "keep me"
    assert not Path("/tmp/podium-evil").exists()


def test_all_files_together_are_bounded_where_a_file_system_can_be_mounted(kernel):
    if kernel.confinement()["disk"] != "tmpfs":
        pytest.skip("no own file system can be mounted here")
    grade = kernel.run_tests("for n in range(100):\n    open(str(n), 'wb').write(b'x' * 10**6)", TESTS)
    assert "No space left" in grade.why
    grade = kernel.run_tests("for n in range(10**6):\n    open(str(n), 'wb').close()", TESTS)
    assert "No space left" in grade.why


def test_every_layer_confines_the_network_by_itself():
    code = "import socket\nsocket.create_connection(('127.0.0.1', PORT), timeout=2)"
    for layers in (("seccomp",), ("hook",), ("namespaces",)):
        sandbox = Sandbox(LIMITS, layers)
        layer = {"seccomp": "seccomp", "hook": "audit hook", "namespaces": "namespace"}[layers[0]]
        if sandbox.confinement()["network"] != layer:
            continue  # not on this machine; the stated confinement says so
        import socket

        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(0.2)
            port = server.getsockname()[1]
            assert sandbox.run_tests(code.replace("PORT", str(port)), TESTS).score == 0.0
            with pytest.raises(TimeoutError):
                server.accept()
    assert Sandbox(LIMITS, ()).confinement()["network"] == "nothing"


def test_a_catastrophic_pattern_ends_in_time(box):
    started = time.monotonic()
    assert box.search("(a+)+$", "a" * 60 + "b") is None
    assert time.monotonic() - started < 15
    assert box.search("^b$", "a\nb") is False
    assert box.search("(?m)^b$", "a\nb") is True


def test_nothing_is_left_behind(box):
    before, files = set(leftovers()), open_files()
    for code in (GOOD, "open('x', 'w').write('x')", "while True: pass", "import os\nos._exit(3)"):
        box.run_tests(code, TESTS)
    assert set(leftovers()) <= before
    assert open_files() <= files


def test_jobs_run_side_by_side(box):
    grades = []
    threads = [threading.Thread(target=lambda: grades.append(box.run_tests(GOOD, TESTS).score)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grades == [1.0] * 4


def test_printing_a_verdict_does_not_make_one(box):
    code = "import os\nfor fd in range(3, 20):\n    try:\n        os.write(fd, b'{\"passed\": true}\\n')\n    except OSError:\n        pass\n"
    assert box.run_tests(code + "os._exit(0)", TESTS).score == 0.0


def wait_until(condition, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_closing_ends_jobs_at_once():
    sandbox = Sandbox(Limits(wall_s=60))
    grades = []
    sleeper = threading.Thread(target=lambda: grades.append(sandbox.run_tests("import time\ntime.sleep(60)", TESTS)))
    sleeper.start()
    wait_until(lambda: sandbox._running)
    started = time.monotonic()
    sandbox.close()
    sleeper.join(20)
    assert time.monotonic() - started < 15
    assert grades[0].score == 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_a_job_does_not_outlive_a_gateway_that_is_killed(tmp_path):
    code = (
        f"import pathlib, time\npathlib.Path('started').touch()\nprint({str(tmp_path)!r}, flush=True)\ntime.sleep(60)"
    )
    gateway = (
        "import sys\nfrom podium.sandbox import Limits, Sandbox\n"
        f"Sandbox(Limits(wall_s=60)).run_tests({code!r}, 'assert True')\n"
    )

    def jobs() -> set[str]:
        found = set()
        for process in Path("/proc").iterdir():
            if process.name.isdigit():
                with contextlib.suppress(OSError):
                    line = (process / "cmdline").read_bytes()
                    if b"sandbox/child.py" in line and process.name not in before:
                        found.add(process.name)
        return found

    before: set[str] = set()
    before = jobs()
    process = subprocess.Popen([sys.executable, "-c", gateway])
    wait_until(lambda: len(jobs()) >= 2)
    process.kill()
    process.wait(10)
    wait_until(lambda: not jobs())
    for folder in leftovers():
        with contextlib.suppress(OSError):
            folder.rmdir()
