"""What Linux offers a process that wants to lose rights: Landlock, seccomp, dropped capabilities. Standard library only.

Loaded by ``child.py``, never by Podium itself. Every function says whether it worked. Numbers are those of the kernel's
user-space headers (``linux/landlock.h``, ``linux/seccomp.h``, ``asm/unistd.h``).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from typing import Any

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
EPERM, ENOSYS = 1, 38
# Landlock: rights a ruleset can handle, by the ABI that introduced them.
_FS_ABI1, _REFER, _TRUNCATE, _IOCTL = 0x1FFF, 1 << 13, 1 << 14, 1 << 15
_READ = 1 << 2 | 1 << 3
_WRITE_FILE = 1 << 1
# seccomp: classic BPF.
_LOAD, _EQUAL, _AT_LEAST, _SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_CLONE_THREAD = 0x10000
_X86, _ARM = 0xC000003E, 0xC00000B7
_COMMON = {"io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
           "fsopen": 430, "fsmount": 432, "pidfd_open": 434, "pidfd_getfd": 438, "mount_setattr": 442,
           "pidfd_send_signal": 424, "memfd_secret": 447}  # fmt: skip
# (x86-64, arm64); -1 where the architecture has no such call.
_CALLS = {
    "socket": (41, 198), "connect": (42, 203), "accept": (43, 202), "sendto": (44, 206), "sendmsg": (46, 211),
    "bind": (49, 200), "listen": (50, 201), "socketpair": (53, 199), "accept4": (288, 242), "sendmmsg": (307, 269),
    "fork": (57, -1), "vfork": (58, -1), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "setpgid": (109, 154), "setsid": (112, 157), "ptrace": (101, 117), "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "memfd_create": (319, 279), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190),
    "mq_open": (240, 180), "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "reboot": (169, 142), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "prlimit64": (302, 261),
    "setrlimit": (160, 164), "personality": (135, 92), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
}  # fmt: skip
_CLONE, _CLONE3, _TGKILL = (56, 220), 435, (234, 131)


def drop_capabilities(libc: Any) -> None:
    """Give up every capability, and the ways to get new ones."""
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    capset = {"x86_64": 126, "aarch64": 91}.get(platform.machine())
    if capset is not None:
        libc.syscall(capset, header, ctypes.create_string_buffer(24))


def restrict_files(libc: Any, folder: str) -> bool:
    """Landlock: read Python's library, write ``folder``, nothing else; no TCP either where the kernel knows it."""
    abi = libc.syscall(444, None, 0, 1)
    if abi < 1:
        return False
    handled = _FS_ABI1 | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0) | (_IOCTL if abi >= 5 else 0)
    attributes = struct.pack("=QQQ", handled, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    ruleset = libc.syscall(444, attributes, size, 0)
    if ruleset < 0:
        return False
    library = [os.path.dirname(os.__file__), os.path.join(sys.base_prefix, "lib"), *sys.path]  # noqa: PTH118, PTH120 # no pathlib: start time
    readable = [*library, "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo"]
    rules = [(path, _READ) for path in readable]
    rules += [("/dev/null", _READ | _WRITE_FILE), ("/dev/urandom", _READ), (folder, handled & ~1)]
    for path, rights in rules:
        _allow(libc, ruleset, path, rights & handled)
    done = bool(libc.syscall(446, ruleset, 0) == 0)
    os.close(ruleset)
    return done


def _allow(libc: Any, ruleset: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path or ".", os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not os.path.isdir(path):  # noqa: PTH112 # no pathlib: start time
        rights &= _READ & ~(1 << 3) | _WRITE_FILE
    libc.syscall(445, ruleset, 1, struct.pack("=Qi", rights, beneath), 0)
    os.close(beneath)


def filter_calls(libc: Any) -> bool:
    """seccomp: no sockets, no new processes or programs, no signals to others, no mounts. Threads stay possible."""
    machine = platform.machine()
    if machine not in ("x86_64", "aarch64"):
        return False
    column = 0 if machine == "x86_64" else 1
    denied = [numbers[column] for numbers in _CALLS.values() if numbers[column] >= 0] + list(_COMMON.values())
    refuse = _ERRNO | EPERM
    program = [
        (_LOAD, 0, 0, 4), (_EQUAL, 1, 0, _ARM if column else _X86), (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
    ]  # fmt: skip
    if column == 0:
        program += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, _KILL)]  # the x32 way to the same calls
    for number in denied:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    program += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _ERRNO | ENOSYS)]
    program += [(_EQUAL, 0, 4, _CLONE[column]), (_LOAD, 0, 0, 16), (_SET, 1, 0, _CLONE_THREAD),
                (_RETURN, 0, 0, refuse), (_RETURN, 0, 0, _ALLOW)]  # fmt: skip
    program += [(_EQUAL, 0, 4, _TGKILL[column]), (_LOAD, 0, 0, 16), (_EQUAL, 1, 0, os.getpid()),
                (_RETURN, 0, 0, refuse), (_RETURN, 0, 0, _ALLOW)]  # fmt: skip
    program.append((_RETURN, 0, 0, _ALLOW))
    code = b"".join(struct.pack("=HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("=H6xQ", len(program), ctypes.addressof(buffer))
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    return bool(
        libc.prctl(PR_SET_SECCOMP, 2, ctypes.cast(ctypes.create_string_buffer(head, len(head)), ctypes.c_void_p), 0, 0)
        == 0
    )
