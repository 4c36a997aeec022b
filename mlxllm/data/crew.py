"""Work shared by several processes, its results in the order in which it was given out."""

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import Any, Generic, TypeVar

from mlxllm.errors import DataError

ALONE_SECONDS = 1.0
"""So long a build does the work itself: most are done by then, and processes take half a second to come up."""
_WAITING_EACH = 2
"""Batches a process that are given out and not yet taken back."""

Place = TypeVar("Place")
Task = TypeVar("Task")
Result = TypeVar("Result")

_work: Callable[[Any], Any] | None = None


def default_workers() -> int:
    """One for each core that this process may use."""
    counted = getattr(os, "process_cpu_count", os.cpu_count)()
    return counted or 1


class Crew(Generic[Place, Task, Result]):
    """Does `work` on tasks, at first by itself, then by processes of its own. A context manager."""

    def __init__(
        self,
        work: Callable[[Task], Result],
        make_work: Callable[..., Callable[[Task], Result]],
        arguments: tuple[Any, ...],
        workers: int,
    ) -> None:
        """No process is started yet.

        Args:
            work: what is to be done with a task; gives the same wherever it is done.
            make_work: called with `arguments` in each process, it gives the same as `work`. All of these are pickled.
            arguments: of it.
            workers: processes; 1 or less does all of it here.
        """
        self._work, self._make_work, self._arguments = work, make_work, arguments
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Crew[Place, Task, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            processes = list((self._pool._processes or {}).values())
            self._pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:  # nothing that they still do is of use
                process.terminate()
            self._pool = None

    def map(self, tasks: Iterable[tuple[Place, Task]]) -> Iterator[tuple[Place, Result]]:
        """The result of each task, in order, with what came along with it and stays here.

        No more tasks are taken than are being worked on.

        Raises:
            DataError: a process was killed, most likely for want of memory; and whatever `work` raises.
        """
        waiting: deque[tuple[Place, Future[Result]]] = deque()
        alone = 0.0
        for place, task in tasks:
            if self._pool is None and (self._workers < 2 or alone < ALONE_SECONDS):
                began = time.monotonic()
                result = self._work(task)
                alone += time.monotonic() - began
                yield place, result
                continue
            waiting.append((place, self._submit(task)))
            if len(waiting) >= self._workers * _WAITING_EACH:
                place, future = waiting.popleft()
                yield place, self._result(future)
        while waiting:
            place, future = waiting.popleft()
            yield place, self._result(future)

    def _submit(self, task: Task) -> "Future[Result]":
        if self._pool is None:
            with _deaf_children():  # what multiprocessing starts beside them
                # Not forked: another thread may hold a lock just then, and this process may have used the GPU.
                self._pool = ProcessPoolExecutor(
                    self._workers, get_context("spawn"), _begin, (self._make_work, self._arguments)
                )
        try:
            with _deaf_children():  # they are started as they are needed
                return self._pool.submit(_do, task)
        except BrokenProcessPool:
            raise _killed() from None

    @staticmethod
    def _result(future: "Future[Result]") -> Result:
        try:
            return future.result()
        except BrokenProcessPool:
            raise _killed() from None


@contextlib.contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started meanwhile never get a signal that a terminal sends to all: Ctrl-C, and its end.

    What becomes of the work is for the first process to say. Without that one the others leave by themselves, and so does
    the one that multiprocessing starts beside them, which would die of SIGHUP and complain of it.
    """
    # Blocked, not ignored: what comes just now waits for this process to listen again, and a child inherits the mask.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _killed() -> DataError:
    return DataError(
        "a process of the build was killed, most likely because memory ran out; give fewer --workers, or 1 to build "
        "in one process"
    )


def _begin(make_work: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
    """In a process of the crew: get ready."""
    global _work
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _work = make_work(*arguments)


def _leave_with_parent() -> None:
    """A process whose parent was killed would wait for its next task without end."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _do(task: Any) -> Any:
    assert _work is not None
    return _work(task)
