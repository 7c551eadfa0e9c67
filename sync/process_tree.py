"""Child processes that never outlive us, stopped in reverse order of their start.

Each child leads a session and process group of its own, so a Ctrl-C in the terminal reaches only us and one
signal to the group reaches a child with everything it started. Our own death, also by `kill -9`, is covered
twice: PR_SET_PDEATHSIG on Linux for the child itself, and `guardian.py` for its whole group, anywhere.
Standard library only: the tests use it before Django is set up.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_GUARDIAN = Path(__file__).with_name("guardian.py")
_PR_SET_PDEATHSIG = 1
# Some 200 000 requests. What stood in a log before is kept once more.
LONGEST_LOG = 64 * 1024 * 1024
# Loaded here: between fork and exec nothing may allocate or import.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: int
    stop_seconds: float

    @property
    def pid(self) -> int:
        return self.process.pid


class ChildDied(Exception):
    """A child ended by itself. The message names it, its exit and its log, and quotes its last lines."""

    def __init__(self, child: Child) -> None:
        self.child = child
        code = child.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        super().__init__(f"{child.name} {how}. Its log: {child.log}\n{last_lines(child.log)}".rstrip())


def last_lines(log: Path) -> str:
    """The end of a log file, indented; '' when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 16_384))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-15:])


def _die_with(parent: int) -> Callable[[], None] | None:
    libc = _libc
    if libc is None:
        return None

    def set_parent_death_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before we could ask to be told
            os._exit(1)

    return set_parent_death_signal


class ProcessTree:
    """Start children with `start`, watch them with `wait`, end them with `stop` or by leaving the block.

    Use it from the main thread: Linux sends the parent-death signal when the *thread* that forked ends.
    """

    def __init__(self, *, log_dir: Path, longest_log: int = LONGEST_LOG) -> None:
        self.log_dir = log_dir
        self.longest_log = longest_log
        self.children: list[Child] = []
        self._lock = threading.Lock()
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARDIAN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )

    def __enter__(self) -> "ProcessTree":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: int = signal.SIGTERM,
        stop_seconds: float = 10.0,
    ) -> Child:
        """Start `command` with its output appended to `<log_dir>/<name>.log`. Raises OSError."""
        log = self.log_dir / f"{name}.log"
        log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )
        child = Child(name, process, log, stop_signal, stop_seconds)
        with self._lock:
            self.children.append(child)
        self._tell_guardian(f"add {process.pid}")
        return child

    def check(self) -> None:
        """Begin logs anew that have grown too long. Raises ChildDied for the first child that has ended."""
        for child in self.children:
            if child.process.poll() is not None:
                raise ChildDied(child)
            with contextlib.suppress(OSError):  # a full disk must not end what serves callers
                self._shorten(child.log)

    def _shorten(self, log: Path) -> None:
        """Who writes to it has it open for good, and appends: it can be emptied, not replaced. What is
        written in the moment between is lost.
        """
        if log.stat().st_size > self.longest_log:
            shutil.copyfile(log, log.with_suffix(".log.1"))
            os.truncate(log, 0)

    def wait_until(self, is_ready: Callable[[], bool], *, child: Child, seconds: float) -> None:
        """Ask `is_ready` until it is true. Raises ChildDied, or TimeoutError naming the child and its log."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{child.name} was not ready after {seconds:g} s. Its log: {child.log}\n"
                    f"{last_lines(child.log)}".rstrip()
                )
            time.sleep(0.03)

    def stop_child(self, child: Child) -> None:
        """Ask the child to stop, wait its `stop_seconds`, then kill whatever is left of its group."""
        with contextlib.suppress(ProcessLookupError):
            child.process.send_signal(child.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.process.wait(timeout=child.stop_seconds)
        kill_group(child.pid)
        child.process.wait()
        self._tell_guardian(f"drop {child.pid}")
        with self._lock:
            if child in self.children:
                self.children.remove(child)

    def stop(self) -> None:
        """Stop every child, the last started first, then the guardian. Safe to call twice."""
        for child in reversed(self.children[:]):
            self.stop_child(child)
        if self._guardian.stdin and not self._guardian.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.close()
        self._guardian.wait()

    def _tell_guardian(self, line: str) -> None:
        if self._guardian.stdin and not self._guardian.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._guardian.stdin.write(f"{line}\n".encode())
                self._guardian.stdin.flush()


def kill_group(group: int) -> None:
    """SIGKILL to a process group; nothing happens when it is gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
