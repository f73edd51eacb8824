"""A managed process is measured, logged, stopped, and never outlives its gateway."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from waiting import until, until_async

from podium.errors import LoadFailed
from podium.providers import procfs
from podium.providers.leftovers import Note, reap_stale, write_note
from podium.providers.process import Command, ManagedProcess

pytestmark = pytest.mark.requirement("PRV-2", "PRV-3")

FAMILY = """
import os, subprocess, sys, time
inner = subprocess.Popen(["sleep", "600"])
apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
print("family", os.getpid(), inner.pid, apart.pid, flush=True)
time.sleep(600)
"""
"""A command with a child, and another child in a session of its own."""

POLITE = """
import signal, sys, time
def leave(*_):
    print("bye", flush=True)
    sys.exit(3)
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(600)
"""

GATEWAY = """
import asyncio, sys
from pathlib import Path
from podium.providers.process import Command, ManagedProcess
async def main():
    home, argv = Path(sys.argv[1]), sys.argv[2:]
    started = await ManagedProcess.start(home, "one", Command(argv=argv, env={"PATH": "/usr/bin:/bin"}))
    print("started", started.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def python(code: str, *more: str) -> list[str]:
    return [sys.executable, "-c", code, *more]


def running(pid: int) -> bool:
    return procfs.start_mark(pid) is not None


async def start(home: Path, argv: list[str], **more) -> ManagedProcess:
    return await ManagedProcess.start(home, "one", Command(argv=argv, env=dict(os.environ), **more))


async def line(process: ManagedProcess, word: str) -> list[str]:
    """The words of the first line of the log that starts with ``word``."""
    return await until_async(
        lambda: next((each.split() for each in process.log_tail(1000).splitlines() if each.startswith(word)), None)
    )


@pytest.fixture
def gateway(home):
    """A gateway process that runs a family of processes; yields (gateway, guard, pids of the family)."""
    process = subprocess.Popen(python(GATEWAY, str(home), *python(FAMILY)), stdout=subprocess.PIPE, text=True)
    pids: list[int] = []
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("started")
        log = home / "logs" / "one.log"
        family = until(lambda: log.exists() and "family" in (said := log.read_text()) and said.endswith("\n") and said)
        pids = [int(word) for word in family.split()[1:]]
        guard = json.loads((home / "run" / "one.json").read_bytes())["guard"]
        yield process, guard, pids
    finally:
        process.kill()
        process.communicate()
        for pid in pids:
            if running(pid):
                os.kill(pid, signal.SIGKILL)


def test_when_the_gateway_is_killed_everything_below_it_is_gone_within_two_seconds(gateway, home):
    process, guard, pids = gateway
    assert all(map(running, pids))
    process.kill()
    until(lambda: not any(map(running, [guard, *pids])), within_s=2.0)
    reaped = reap_stale(home)
    assert (reaped.killed, reaped.stale) == ((), ("one",))
    assert not list((home / "run").glob("one*"))


def test_what_is_left_when_gateway_and_guard_are_killed_together_is_ended_by_the_next_start(gateway, home):
    process, guard, (command, inner, apart) = gateway
    os.kill(guard, signal.SIGSTOP)
    process.kill()
    process.wait()
    os.kill(guard, signal.SIGKILL)
    until(lambda: not running(command), within_s=2.0)  # the kernel ends it with its guard
    assert running(inner)
    assert running(apart)  # in a session of its own, so only its environment tells whose it is
    assert reap_stale(home).killed == ("one",)
    assert not running(inner)
    assert not running(apart)
    assert not list((home / "run").glob("one*"))


def test_a_process_with_the_marker_of_another_instance_is_not_touched(home):
    environment = {**os.environ, procfs.MARKER: "of-another"}
    other = subprocess.Popen(["sleep", "600"], env=environment, start_new_session=True)
    try:
        until(lambda: procfs.marked("of-another") == [other.pid])
        for marker in ("of-anothe", "of-another-too", ""):
            note = Note(
                instance_id="one", guard=4_194_305, guard_mark="1@x", gateway=4_194_305, gateway_mark="x", marker=marker
            )
            write_note(home, note)
            assert reap_stale(home).stale == ("one",)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


@pytest.fixture
def stranger():
    """A session leader that is none of ours."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def note_of(pid: int, mark: str, gateway: int = 999_999_999, gateway_mark: str = "gone") -> Note:
    return Note(instance_id="one", guard=pid, guard_mark=mark, gateway=gateway, gateway_mark=gateway_mark)


def test_a_process_that_got_the_number_of_ours_is_not_touched(home, stranger):
    mark = procfs.start_mark(stranger.pid)
    assert mark is not None
    ticks, _, boot = mark.partition("@")
    for reused in (f"{int(ticks) - 1}@{boot}", f"{ticks}@00000000-another-boot"):
        path = write_note(home, note_of(stranger.pid, reused))
        assert reap_stale(home).stale == ("one",)
        assert not path.exists()
    assert stranger.poll() is None
    write_note(home, note_of(stranger.pid, mark))  # with its true mark it would have been ours
    assert reap_stale(home).killed == ("one",)
    assert stranger.wait(5) == -signal.SIGKILL


def test_another_gateway_that_still_runs_keeps_its_children(home, stranger):
    mine = procfs.start_mark(os.getpid())
    path = write_note(home, note_of(stranger.pid, procfs.start_mark(stranger.pid), os.getpid(), mine))
    reaped = reap_stale(home)
    assert (reaped.killed, reaped.stale) == ((), ())
    assert path.exists()
    assert stranger.poll() is None


def test_a_note_that_cannot_be_read_is_removed(home):
    (home / "run").mkdir()
    (home / "run" / "torn.json").write_bytes(b'{"instance_id": "to')
    reap_stale(home)
    assert not list((home / "run").iterdir())


def test_only_private_folders_of_ours_are_removed(home, tmp_path):
    mine, other = tmp_path / "podium-abc", tmp_path / "precious"
    for folder in (mine, other):
        folder.mkdir()
        note = Note(
            instance_id="one", guard=999_999_999, guard_mark="1@x", gateway=1, gateway_mark="no", folder=str(folder)
        )
        write_note(home, note)
        reap_stale(home)
    assert not mine.exists()
    assert other.exists()


async def test_the_log_keeps_the_end_and_stays_within_its_bound(home):
    limit = 256 * 1024
    process = await start(home, python("for i in range(200000): print('row', i)"), log_bytes=limit)
    assert await process.wait() == 0
    files = list((home / "logs").iterdir())
    assert limit / 2 <= sum(file.stat().st_size for file in files) <= limit
    assert process.log_tail(2).splitlines() == ["row 199998", "row 199999"]
    assert len(process.log_tail().splitlines()) == 30
    assert all(file.stat().st_mode & 0o077 == 0 for file in files)
    await process.stop()


async def test_the_shown_end_of_a_log_spans_both_files_and_obeys_no_terminal(home):
    code = r"""
import os
os.write(1, b"a" * 3000 + b"\n" + b"\x1b]0;title\x07\x1b[1;31mred\x1b[0m \xff\x00\x08end\n")
"""
    process = await start(home, python(code), log_bytes=8192)
    await process.wait()
    await process.stop()
    process._log.rename(process._log.with_name(process._log.name + ".1"))
    process._log.write_text("later\n")
    assert process.log_tail().splitlines() == ["a" * 500, "red \ufffdend", "later"]
    assert process.log_tail(1) == "later"


async def test_a_new_start_does_not_show_the_log_of_an_earlier_one(home):
    for said in ("first", "second"):
        process = await start(home, ["echo", said])
        await process.wait()
        await process.stop()
        assert process.log_tail() == said


async def test_logs_of_former_instances_are_kept_up_to_a_number(home, monkeypatch):
    monkeypatch.setattr("podium.providers.process.KEPT_LOGS", 5)
    stays = await ManagedProcess.start(home, "first@1#0", Command(argv=["sleep", "600"], env=dict(os.environ)))
    os.utime(stays._log, (1, 1))
    for number in range(1, 9):
        process = await ManagedProcess.start(home, f"m@1#{number}", Command(argv=["true"], env=dict(os.environ)))
        await process.stop()
        os.utime(process._log, (100 + number, 100 + number))
    kept = {path.name for path in (home / "logs").iterdir()}
    assert kept == {"first@1#0.log", *(f"m@1#{number}.log" for number in range(4, 9))}
    await stays.stop()


async def test_an_instance_of_a_model_with_a_slash_in_its_name_is_noted_and_logged(home):
    name = "Qwen/Qwen2.5-0.5B@1.0#7"
    process = await ManagedProcess.start(home, name, Command(argv=["sh", "-c", "echo hi"], env=dict(os.environ)))
    (note,) = (home / "run").iterdir()
    assert json.loads(note.read_bytes())["instance_id"] == name
    await process.wait()
    await process.stop()
    assert process.log_tail() == "hi"
    assert not list((home / "run").iterdir())


async def test_a_command_that_listens_to_sigterm_ends_in_its_own_way(home):
    process = await start(home, python(POLITE))
    await line(process, "ready")
    await process.stop(grace_s=10)
    assert await process.wait() == 3
    assert process.log_tail().splitlines() == ["ready", "bye"]
    assert not process.alive()
    await process.stop()  # again is fine


async def test_a_command_that_ignores_sigterm_is_killed_after_the_grace(home):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True)"
    process = await start(home, python(f"{code}; time.sleep(600)"))
    await line(process, "ready")
    started = time.monotonic()
    await process.stop(grace_s=0.3)
    assert 0.29 <= time.monotonic() - started < 2.0
    assert await process.wait() == 128 + signal.SIGKILL
    assert not running(process.pid)


async def test_stopping_takes_the_whole_family_along(home):
    process = await start(home, python(FAMILY))
    pids = [int(word) for word in (await line(process, "family"))[1:]]
    assert pids[0] == process.pid
    await process.stop(grace_s=1)
    assert not any(map(running, pids))
    assert not list((home / "run").iterdir())


async def test_children_left_by_a_command_that_ended_are_ended_too(home):
    process = await start(home, ["sh", "-c", "sleep 600 & echo left $!"])
    assert await process.wait() == 0
    assert not running(int((await line(process, "left"))[1]))
    assert not process.alive()
    assert process.usage() is None
    await process.stop()


async def test_stopping_works_even_when_the_guard_was_killed(home):
    process = await start(home, ["sh", "-c", "sleep 600 & echo left $!; wait"])
    left = int((await line(process, "left"))[1])
    os.kill(process._guard.pid, signal.SIGKILL)
    await process.wait()
    await process.stop()
    assert not running(left)
    assert not running(process.pid)


async def test_stopping_after_the_guard_was_killed_finds_what_left_its_session(home):
    process = await start(home, python(FAMILY))
    pids = [int(word) for word in (await line(process, "family"))[1:]]
    os.kill(process._guard.pid, signal.SIGKILL)
    await process.wait()
    assert running(pids[2])
    await process.stop()
    assert not any(map(running, pids))
    assert not list((home / "run").iterdir())


async def test_a_guard_that_does_not_report_in_time_is_a_failed_load_and_leaves_nothing(home, monkeypatch, tmp_path):
    monkeypatch.setattr("podium.providers.process._START_S", 0.0)
    folder = tmp_path / "podium-private"
    folder.mkdir()
    with pytest.raises(LoadFailed, match="could not be started within 0 s"):
        await start(home, ["sleep", "4321"], folder=folder)
    assert not list((home / "run").iterdir())
    assert not folder.exists()
    assert not [each.pid for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "4321"]]


async def test_a_guard_that_dies_at_once_is_a_failed_load_and_leaves_nothing(home, monkeypatch, tmp_path):
    broken = tmp_path / "guard.py"
    broken.write_text("import sys; sys.stdin.close()")
    monkeypatch.setattr("podium.providers.process.guard.__file__", str(broken))
    with pytest.raises(LoadFailed, match="sleep could not be started"):
        await start(home, ["sleep", "600"], stdin=b"x" * 1_000_000)
    assert not list((home / "run").iterdir())


async def test_a_home_that_cannot_be_written_is_a_failed_load(home):
    (home / "logs").write_text("in the way")
    with pytest.raises(LoadFailed, match="could not be started: File exists"):
        await start(home, ["sleep", "600"])
    (home / "logs").unlink()
    (home / "run").write_text("in the way")
    with pytest.raises(LoadFailed, match="could not be started: "):
        await start(home, ["sleep", "600"])


async def test_what_cannot_be_executed_is_a_load_failure_that_names_it(home, tmp_path):
    plain = tmp_path / "plain.txt"
    plain.write_text("no program")
    for program, why in ((str(tmp_path / "missing"), "No such file"), (str(plain), "Permission denied")):
        with pytest.raises(LoadFailed, match=why) as caught:
            await start(home, [program])
        assert program in caught.value.message
        assert not list((home / "run").iterdir())


async def test_secrets_travel_on_standard_input_and_descriptors_are_passed_on(home):
    received, given = os.pipe()
    secret = "s3cret" * 20_000  # more than a pipe holds
    code = "import os, sys; data = sys.stdin.read(); os.write(int(sys.argv[1]), str(len(data)).encode())"
    process = await start(home, python(code, str(given)), stdin=secret.encode(), keep=(given,))
    os.close(given)
    with os.fdopen(received, "rb") as pipe:
        assert int(await until_async(pipe.read)) == len(secret)
    await process.stop()


async def test_usage_counts_the_cpu_of_a_busy_command_and_of_its_children(home):
    code = """
import resource, subprocess, sys, time
def burn(s):
    end = time.process_time() + s
    while time.process_time() < end: pass
held = bytearray(64 << 20)
held[::4096] = b"x" * len(held[::4096])
burn(0.6)
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.4: pass"])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print("used", sum(each.ru_utime + each.ru_stime for each in used), flush=True)
time.sleep(600)
"""
    process = await start(home, python(code))
    used = float((await line(process, "used"))[1])
    usage = process.usage()
    seen = psutil.Process(process.pid).memory_info().rss
    await process.stop(grace_s=0)
    assert usage is not None
    assert used > 0.9
    assert usage.cpu_s == pytest.approx(used, rel=0.1)
    assert usage.memory_bytes == pytest.approx(seen, rel=0.1)
    assert usage.memory_bytes > 64 << 20
    assert process.usage() is None


async def test_usage_while_children_still_run_includes_them(home):
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    busy = """
import os, time
while time.process_time() < 0.5: pass
print("busy", os.getpid(), time.process_time(), flush=True)
time.sleep(600)
"""
    process = await start(home, python(code, busy))
    used = float((await line(process, "busy"))[2])
    usage = process.usage()
    own = psutil.Process(process.pid).cpu_times()
    await process.stop(grace_s=0)
    assert usage is not None
    assert usage.cpu_s == pytest.approx(used + own.user + own.system, rel=0.1)
