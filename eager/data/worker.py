"""What runs in a worker process: it gets tasks through a pipe, fetches, and sends the batches back
from a thread, so that it can fetch ahead. An exception is sent home with its traceback.

A worker ends when it is told to, or when its parent is gone.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

POLL_SECONDS = 5.0
FETCH, RESTART, END = range(3)


@dataclass(frozen=True)
class WorkerInfo:
    """Which worker this is, of how many, with which seed and dataset."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_info: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """What worker this process is; None in the main process."""
    return _info


class _Verbatim(str):
    """A message that prints with its line breaks, even as the argument of a KeyError."""

    def __repr__(self) -> str:
        return str(self)


class RemoteError:
    """An exception on its way home: its class, and its traceback as text."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.kind, self.where = type(error), where
        self.text = "".join(traceback.format_exception(error))

    def reraise(self) -> None:
        """Raises it again, with the worker's traceback in its message."""
        message = f"Caught {self.kind.__name__} {self.where}.\nOriginal {self.text}"
        try:
            error = self.kind(_Verbatim(message) if self.kind is KeyError else message)
        except Exception:  # its constructor wants something else
            raise RuntimeError(message) from None
        raise error


class Exhausted:
    """Sent instead of a batch when a worker's part of an iterable dataset has ended."""


@dataclass
class Setup:
    """What a worker is told at its start."""

    fetcher: Any  # makes a function from task to batch
    worker_id: int
    num_workers: int
    seed: int
    dataset: Any
    init: Any


def _seed_everything(seed: int) -> None:
    from eager.rng import manual_seed

    random.seed(seed)
    np.random.seed(seed % 2**32)
    manual_seed(seed)


def _dump(item: Any, worker_id: int) -> bytes:
    try:
        return bytes(ForkingPickler.dumps(item))
    except Exception as error:
        where = f"in DataLoader worker process {worker_id} (a batch could not be sent)"
        return bytes(ForkingPickler.dumps(RemoteError(error, where)))


def run(setup: Setup, connection: Any, parent: int) -> None:
    """The loop of a worker over its orders: fetch a batch, begin an epoch, end."""
    global _info
    outbox: queue.Queue = queue.Queue()
    sender = threading.Thread(target=_send_all, args=(outbox, connection), daemon=True)
    sender.start()
    where = f"in DataLoader worker process {setup.worker_id}"
    try:
        _info = WorkerInfo(setup.worker_id, setup.num_workers, setup.seed, setup.dataset)
        failed: RemoteError | None = None
        fetch = None
        try:
            _seed_everything(setup.seed)
            if setup.init is not None:
                setup.init(setup.worker_id)
            fetch = setup.fetcher()
        except Exception as error:
            failed = RemoteError(error, where)
        while True:
            while not connection.poll(POLL_SECONDS):
                if os.getppid() != parent:
                    return
            order, task = connection.recv()
            if order == END:
                return
            if order == RESTART:
                fetch = setup.fetcher()
                continue
            if failed is not None:
                outbox.put(_dump(failed, setup.worker_id))
                failed = None
                continue
            outbox.put(_dump(_attempt(fetch, task, where), setup.worker_id))
    except (EOFError, KeyboardInterrupt):
        return
    finally:
        outbox.put(None)
        sender.join(POLL_SECONDS)


def _attempt(fetch: Any, task: Any, where: str) -> Any:
    if fetch is None:
        return RemoteError(RuntimeError("the worker could not start"), where)
    try:
        return fetch(task)
    except Exception as error:
        return RemoteError(error, where)


def _send_all(outbox: queue.Queue, connection: Any) -> None:
    while (data := outbox.get()) is not None:
        try:
            connection.send_bytes(data)
        except (BrokenPipeError, OSError):
            return  # nobody listens any more
