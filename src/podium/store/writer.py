"""The one thread that writes. Jobs that queue up together share a commit; each is undone alone when it fails.

Group commit: the thread takes everything that waits, runs each job under its own savepoint and commits once. A
caller's future resolves only after that commit. A job that the database refuses (or that raises) is rolled back to
its savepoint and its neighbours commit. Some failures of the disk make SQLite drop the whole transaction: then the
group is run again one job at a time, so that only jobs that really do not fit fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from podium.domain.audit import Head
from podium.errors import StoreError
from podium.store.audit import AUDIT_ADDED, head
from podium.store.engine import is_refusal, translate
from podium.store.tasks import EVENTS_ADDED

T = TypeVar("T")
MOST_JOBS_PER_COMMIT = 256


class Job:
    """Something to do in a transaction, and who waits for it."""

    __slots__ = ("done", "error", "future", "work")

    def __init__(self, work: Callable[[Connection], object]) -> None:
        self.work = work
        self.future: Future[object] = Future()
        self.done: object = None
        self.error: BaseException | None = None


class _TransactionLost(Exception):
    """The database gave up the whole transaction, not only one statement."""


class Writer:
    """Owns the writing connection. ``start`` before use, ``close`` at the end; both belong to the store."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self._engine = engine
        self._path = path
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="podium-store-writer", daemon=True)
        self.commits = 0
        self.on_events: Callable[[], None] = _nobody
        """Called from the writer's thread after a commit that holds new events; must be quick and must not raise."""
        self.on_audit: Callable[[Head], None] = _nowhere
        """The same after a commit that holds new rows of the audit log, before anybody hears of the commit."""

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in a transaction and return its result once that is committed.

        Raises ``StoreError`` or ``Conflict``. A caller that is cancelled while its job waits takes it out of the
        queue; a job that runs is finished.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """As ``run``, from any thread."""
        job = Job(work)
        with self._lock:
            if self._closed:
                raise StoreError(f"the store {self._path} is closed; open it again")
            self._queue.put(job)
        return job.future  # type: ignore[return-value] # the job holds futures of all result types

    def close(self) -> None:
        """Finish what is queued and stop the thread; idempotent. Blocks until it has ended."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        open_ = True
        while open_:
            jobs, open_ = self._take()
            waiting = [job for job in jobs if job.future.set_running_or_notify_cancel()]
            if waiting:
                self._commit(waiting)
                for job in waiting:
                    if job.error is not None:
                        job.future.set_exception(job.error)
                    else:
                        job.future.set_result(job.done)
                jobs, waiting = [], []
        self._engine.dispose()

    def _take(self) -> tuple[list[Job], bool]:
        jobs: list[Job] = []
        item = self._queue.get()
        with contextlib.suppress(queue.Empty):
            while item is not None:
                jobs.append(item)
                if len(jobs) >= MOST_JOBS_PER_COMMIT:
                    return jobs, True
                item = self._queue.get_nowait()
        return jobs, item is not None

    def _commit(self, jobs: list[Job]) -> None:
        try:
            self._attempt(jobs)
        except (SQLAlchemyError, _TransactionLost) as error:
            if len(jobs) == 1:
                cause = error.__cause__ if isinstance(error, _TransactionLost) else error
                assert isinstance(cause, SQLAlchemyError)
                jobs[0].error = translate(cause, self._path)
                jobs[0].error.__cause__ = cause
                return
            for job in jobs:
                self._commit([job])

    def _attempt(self, jobs: list[Job]) -> None:
        for job in jobs:
            job.done, job.error = None, None
        with self._engine.connect() as connection, connection.begin() as transaction:
            for job in jobs:
                self._work(connection, job)
            audited = connection.info.pop(AUDIT_ADDED, False)
            if all(job.error is not None for job in jobs):
                transaction.rollback()
            else:
                last = head(connection) if audited else None
                transaction.commit()
                self.commits += 1
                if last is not None:
                    self.on_audit(last)
                if connection.info.pop(EVENTS_ADDED, False):
                    self.on_events()

    def _work(self, connection: Connection, job: Job) -> None:
        savepoint = connection.begin_nested()
        try:
            job.done = job.work(connection)
            savepoint.commit()
        except SQLAlchemyError as error:
            if not is_refusal(error):
                raise _TransactionLost from error
            savepoint.rollback()
            job.error = translate(error, self._path)
            job.error.__cause__ = error
        except Exception as error:  # noqa: BLE001 - a mistake in one job is its caller's, the neighbours commit
            savepoint.rollback()
            job.error = error


def _nobody() -> None:
    """Who listens before anybody does."""


def _nowhere(head: Head) -> None:
    """Where the end of the audit log is kept before anybody keeps it."""
