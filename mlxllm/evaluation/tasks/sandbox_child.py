"""What `sandbox.py` starts with `python -I`: runs one program that nobody has read, as locked up as the system allows.

This process reads the order from stdin, shuts what it can, and forks once: the child runs the program, the parent only
waits for it and kills it when its time is over. Standard library only; nothing of mlxllm is imported here.
"""

import ctypes
import json
import math
import os
import platform
import resource
import signal
import struct
import sys
import types
from contextlib import suppress
from types import FrameType
from typing import Any

_SET_NO_NEW_PRIVS, _SET_SECCOMP, _SET_PDEATHSIG = 38, 22, 1
_NEW_MOUNTS, _NEW_HOST, _NEW_IPC, _NEW_USER, _NEW_PIDS, _NEW_NET = (
    0x20000,
    0x4000000,
    0x8000000,
    0x10000000,
    0x20000000,
    0x40000000,
)
_MS_NOSUID, _MS_NODEV, _MS_REC, _MS_PRIVATE = 2, 4, 0x4000, 0x40000
_ATTR_RDONLY, _ATTR_NOSUID, _ATTR_NODEV = 1, 2, 4
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_MOUNT_SETATTR, _LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 442, 444, 445, 446  # the same on every machine
_LANDLOCK_WRITES = sum(1 << bit for bit in (1, *range(4, 13)))
_LANDLOCK_REFER, _LANDLOCK_TRUNCATE = 1 << 13, 1 << 14

# System calls that a solution of a puzzle has no use for: other processes, signals, sockets, mounts, other programs.
# Numbers of asm/unistd_64.h and asm-generic/unistd.h; new ones are the same on both.
_NEW_CALLS = (424, 425, 428, 429, 430, 434, 435, 442)  # pidfd, io_uring, mounts, clone3
_REFUSED = {
    "x86_64": (
        0xC000003E,
        [
            41,
            42,
            53,
            56,
            57,
            58,
            59,
            62,
            101,
            129,
            155,
            157,
            161,
            165,
            166,
            200,
            234,
            272,
            297,
            302,
            308,
            310,
            311,
            321,
            322,
        ],
    ),
    "aarch64": (
        0xC00000B7,
        [39, 40, 41, 51, 97, 117, 129, 130, 131, 138, 167, 198, 199, 203, 220, 221, 240, 261, 268, 270, 271, 280, 281],
    ),
}


def main() -> None:
    """Run the program of the order on stdin; what came of it goes to the descriptor named there."""
    order = json.loads(sys.stdin.buffer.read())
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    if sys.platform == "linux":
        _shut_namespaces(os.getcwd(), int(order["disk_bytes"]))
    child = os.fork()
    if child == 0:
        _run(order)
    _wait(child, float(order["seconds"]), int(order["result"]))


def _wait(child: int, seconds: float, result: int) -> None:
    """Reap the child, which is killed when its time is over or when this process is asked to end."""
    late = False

    def kill(number: int, frame: FrameType | None) -> None:
        nonlocal late
        late = number == signal.SIGALRM
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, kill)
    signal.signal(signal.SIGTERM, kill)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if late:
        os.write(result, b"\ntimed out")
    elif os.WIFSIGNALED(status):
        os.write(result, f"\nkilled by signal {os.WTERMSIG(status)}".encode())
    os._exit(0)


def _run(order: dict[str, Any]) -> None:
    result, program, token = int(order["result"]), str(order["program"]), str(order["token"])
    said = b""
    try:
        if sys.platform == "linux":
            os.setsid()  # out of reach of whoever waits, should the program signal its own group
        _limit(order)
        if sys.platform == "linux":
            _lock()
        code = compile(program, "<program>", "exec")
        module = sys.modules["program"] = types.ModuleType("program")  # some classes look their module up
        exec(code, module.__dict__)  # this is what the sandbox is for
        said = token.encode()  # only here: a program that ends itself before its last line has not passed
    except BaseException as error:  # whatever it is, SystemExit too
        with suppress(BaseException):
            said = f"{type(error).__name__}: {error}"[:300].encode(errors="replace")
    finally:
        with suppress(BaseException):
            os.write(result, said)
        with suppress(BaseException):
            sys.stdout.flush()
        os._exit(0)  # no atexit, no waiting for what the program has left


def _limit(order: dict[str, Any]) -> None:
    """Limits that hold for this process; one that a system does not know is passed over."""
    seconds = math.ceil(float(order["seconds"])) + 1
    for name, value in (
        ("RLIMIT_CPU", seconds),
        ("RLIMIT_AS", int(order["memory_bytes"])),
        ("RLIMIT_DATA", int(order["memory_bytes"])),
        ("RLIMIT_FSIZE", int(order["file_bytes"])),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_NPROC", 0),  # no process or thread more; the superuser is held by the filter below instead
        ("RLIMIT_CORE", 0),
    ):
        limit = getattr(resource, name, None)
        if limit is not None:
            with suppress(ValueError, OSError):
                resource.setrlimit(limit, (value, value))


def _call(function: Any, *args: Any) -> int:
    """The value of a libc function.

    Raises:
        OSError: it is below 0.
    """
    value = int(function(*args))
    if value < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return value


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc


def _shut_namespaces(folder: str, disk_bytes: int) -> None:
    """No network, no view of other processes, nothing writable but `folder`, which lies in memory; see unshare(2).

    Where the system does not let its users do that, everything stays as it is.
    """
    libc, user, group = _libc(), os.getuid(), os.getgid()
    try:
        _call(libc.unshare, _NEW_USER | _NEW_MOUNTS | _NEW_PIDS | _NEW_NET | _NEW_IPC | _NEW_HOST)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        path = folder.encode()
        _call(libc.mount, None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        options = f"size={disk_bytes},mode=0700".encode()
        _call(libc.mount, b"tmpfs", path, b"tmpfs", ctypes.c_ulong(_MS_NOSUID | _MS_NODEV), options)
        shut = struct.pack("=QQQQ", _ATTR_RDONLY | _ATTR_NOSUID | _ATTR_NODEV, 0, 0, 0)
        _call(libc.syscall, _MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, shut, ctypes.c_size_t(len(shut)))
        opened = struct.pack("=QQQQ", 0, _ATTR_RDONLY, 0, 0)
        _call(libc.syscall, _MOUNT_SETATTR, _AT_FDCWD, path, 0, opened, ctypes.c_size_t(len(opened)))
    except (OSError, AttributeError):
        pass
    os.chdir(folder)


def _lock() -> None:
    """Give up what is left: capabilities, writing elsewhere (Landlock), and system calls that are not needed (seccomp)."""
    libc = _libc()
    for step in (_lock_life, _drop_capabilities, _lock_files, _lock_calls):
        with suppress(OSError, AttributeError):
            step(libc)


def _lock_life(libc: ctypes.CDLL) -> None:
    _call(libc.prctl, _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _call(libc.prctl, _SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    _call(libc.capset, struct.pack("=Ii", 0x20080522, 0), bytes(24))


def _lock_files(libc: ctypes.CDLL) -> None:
    version = _call(libc.syscall, _LANDLOCK_CREATE, None, ctypes.c_size_t(0), 1)
    rights = _LANDLOCK_WRITES | (_LANDLOCK_REFER if version >= 2 else 0) | (_LANDLOCK_TRUNCATE if version >= 3 else 0)
    rules = _call(libc.syscall, _LANDLOCK_CREATE, struct.pack("=Q", rights), ctypes.c_size_t(8), 0)
    here = os.open(".", os.O_RDONLY)
    _call(libc.syscall, _LANDLOCK_ADD, rules, 1, struct.pack("=Qi", rights, here), 0)
    _call(libc.syscall, _LANDLOCK_RESTRICT, rules, 0)
    os.close(here)
    os.close(rules)


def _lock_calls(libc: ctypes.CDLL) -> None:
    if platform.machine() not in _REFUSED:
        return
    machine, refused = _REFUSED[platform.machine()]
    load, equal, at_least, end = 0x20, 0x15, 0x35, 0x06
    kill, refuse, allow = 0x80000000, 0x00050001, 0x7FFF0000  # 0x50000 + EPERM
    lines = [(load, 0, 0, 4), (equal, 1, 0, machine), (end, 0, 0, kill), (load, 0, 0, 0)]
    lines += [(at_least, 0, 1, 0x40000000), (end, 0, 0, refuse)]  # the calls of x32, whose numbers are others
    for number in (*refused, *_NEW_CALLS):
        lines += [(equal, 0, 1, number), (end, 0, 0, refuse)]
    lines.append((end, 0, 0, allow))
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in lines))
    program = struct.pack("@HP", len(lines), ctypes.addressof(code))
    _call(libc.prctl, _SET_SECCOMP, 2, program, 0, 0)


if __name__ == "__main__":
    main()
