"""DataLoader: batches of a dataset, fetched here or ahead of time by worker processes.

Each worker has its own pipe, and tasks go round the workers in turn, so batches come home in order
without a queue that a killed worker could leave locked. Promises: an exception in a worker is
raised here with its traceback; a worker that dies is noticed at once; no worker outlives its
iterator.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import pickle
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from eager.data.collate import default_collate, default_convert
from eager.data.dataset import IterableDataset
from eager.data.sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler
from eager.data.worker import END, FETCH, RESTART, Exhausted, RemoteError, Setup, run
from eager.registry import ops


def _wait(objects: list, timeout: float | None) -> list:
    from multiprocessing.connection import wait  # brings sockets along

    return wait(objects, timeout)


class _Endless(Sampler):
    """The sampler of iterable datasets: nothing to choose."""

    def __iter__(self) -> Iterator[None]:
        return itertools.repeat(None)


class _ByNumber:
    """Fetches samples by their numbers."""

    def __init__(self, dataset: Any, collate: Callable, batched: bool) -> None:
        self.dataset, self.collate, self.batched = dataset, collate, batched

    def __call__(self, task: Any) -> Any:
        if not self.batched:
            return self.collate(self.dataset[task])
        many = getattr(self.dataset, "__getitems__", None)
        samples = many(task) if callable(many) else [self.dataset[i] for i in task]
        return self.collate(samples)


class _InTurn:
    """Fetches as many samples as the task is long from an iterator; `Exhausted` when it has ended.
    """

    def __init__(self, dataset: Any, collate: Callable, batched: bool, drop_last: bool) -> None:
        self.samples, self.collate = iter(dataset), collate
        self.batched, self.drop_last = batched, drop_last

    def __call__(self, task: Any) -> Any:
        if not self.batched:
            for sample in self.samples:
                return self.collate(sample)
            return Exhausted()
        batch = list(itertools.islice(self.samples, len(task)))
        if not batch or (self.drop_last and len(batch) < len(task)):
            return Exhausted()
        return self.collate(batch)


def _fetcher(dataset: Any, collate: Callable, batched: bool, drop_last: bool) -> Callable:
    if isinstance(dataset, IterableDataset):
        return _InTurn(dataset, collate, batched, drop_last)
    return _ByNumber(dataset, collate, batched)


class DataLoader:
    """Iterates over a dataset in batches.

    Raises ValueError for options that exclude each other, and for attributes set once it is made
    that would have no effect."""

    _iterator: Any = None
    _made = False

    def __init__(
        self, dataset: Any, batch_size: int | None = 1, shuffle: bool | None = None,
        sampler: Iterable | None = None, batch_sampler: Iterable | None = None,
        num_workers: int = 0, collate_fn: Callable | None = None, pin_memory: bool = False,
        drop_last: bool = False, timeout: float = 0, worker_init_fn: Callable | None = None,
        multiprocessing_context: Any = None, generator: Any = None, *,
        prefetch_factor: int | None = None, persistent_workers: bool = False,
        pin_memory_device: str = "", in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        _check_context(num_workers, multiprocessing_context)
        if pin_memory:
            warnings.warn("'pin_memory' argument is set as true but no accelerator is found, then "
                          "device pinned memory won't be used.", stacklevel=2)
        iterable = isinstance(dataset, IterableDataset)
        if iterable and shuffle not in (False, None):
            raise ValueError("DataLoader with IterableDataset: expected unspecified shuffle "
                             f"option, but got shuffle={shuffle}")
        if iterable and (sampler is not None or batch_sampler is not None):
            raise ValueError("DataLoader with IterableDataset: expected unspecified "
                             + (f"sampler option, but got sampler={sampler}"
                                if sampler is not None else
                                f"batch_sampler option, but got batch_sampler={batch_sampler}"))
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError("batch_sampler option is mutually exclusive with batch_size, "
                                 "shuffle, sampler, and drop_last")
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually "
                             "exclusive with drop_last")
        if sampler is None:
            sampler = (_Endless() if iterable
                       else RandomSampler(dataset, generator=generator) if shuffle
                       else SequentialSampler(dataset))
        if batch_size is not None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler, self.generator = sampler, batch_sampler, generator
        self.num_workers, self.timeout = num_workers, timeout
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.worker_init_fn, self.persistent_workers = worker_init_fn, persistent_workers
        self.multiprocessing_context, self.in_order = multiprocessing_context, in_order
        self.collate_fn = collate_fn or (default_collate if self._auto_collation
                                         else default_convert)
        self._made = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._made and name in _FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is "
                             "initialized")
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Iterable:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _make_fetcher(self) -> Callable[[], Callable]:
        return functools.partial(_fetcher, self.dataset, self.collate_fn, self._auto_collation,
                                 self.drop_last)

    def __iter__(self) -> Iterator:
        if self.num_workers == 0:
            return _Here(self)
        if not self.persistent_workers:
            return _WithWorkers(self)
        if self._iterator is None:
            self._iterator = _WithWorkers(self)
        else:
            self._iterator.restart()
        return self._iterator

    def __len__(self) -> int:
        if not isinstance(self.dataset, IterableDataset):
            return len(self._index_sampler)  # type: ignore[arg-type]
        count = len(self.dataset)  # type: ignore[arg-type]
        if self.batch_size is None:
            return count
        if self.drop_last:
            return count // self.batch_size
        return -(-count // self.batch_size)


def _check_workers(num_workers: int, timeout: float, prefetch_factor: int | None,
                   persistent_workers: bool) -> None:
    if num_workers < 0:
        raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable "
                         "multiprocessing.")
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError("prefetch_factor option could only be specified in multiprocessing. let "
                         "num_workers > 0 to enable multiprocessing, otherwise set prefetch_factor "
                         "to None.")
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


_FIXED = frozenset("batch_size batch_sampler sampler drop_last dataset persistent_workers".split())


def _check_context(num_workers: int, context: Any) -> None:
    if context is None:
        return
    if num_workers == 0:
        raise ValueError("multiprocessing_context can only be used with multi-process loading "
                         f"(num_workers > 0), but got num_workers={num_workers}")
    if isinstance(context, str) and context not in multiprocessing.get_all_start_methods():
        raise ValueError("multiprocessing_context option should specify a valid start method in "
                         f"{multiprocessing.get_all_start_methods()!r}, but got {context!r}")
    if not isinstance(context, str) and not hasattr(context, "Process"):
        raise TypeError("multiprocessing_context option should be a valid context object or a "
                        f"string specifying the start method, but got {context!r}")


class _Here:
    """Iterates in this process."""

    def __init__(self, loader: DataLoader) -> None:
        # drawn for nobody: the order of what is drawn does not depend on the number of workers
        _draw_seed(loader.generator)
        self.tasks = iter(loader._index_sampler)
        self.fetch = loader._make_fetcher()()
        self.loader = loader

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        found = self.fetch(next(self.tasks))
        if isinstance(found, Exhausted):
            raise StopIteration
        return found

    def __len__(self) -> int:
        return len(self.loader)


class _Worker:
    """One process, its pipe, and the numbers of the tasks it has not answered."""

    def __init__(self, context: Any, setup: Setup) -> None:
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=run, args=(setup, theirs, os.getpid()), daemon=True)
        self.process.start()
        theirs.close()
        self.waiting: deque[int] = deque()
        self.exhausted = False


class _WithWorkers:
    """Iterates over what worker processes fetch."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.process = os.getpid()
        context = loader.multiprocessing_context
        if context is None or isinstance(context, str):
            context = multiprocessing.get_context(context)
        seed = _draw_seed(loader.generator)
        self.workers: list[_Worker] = []
        try:
            for i in range(loader.num_workers):
                self.workers.append(_Worker(context, Setup(
                    loader._make_fetcher(), i, loader.num_workers, seed + i, loader.dataset,
                    loader.worker_init_fn)))
        except BaseException:
            self.close()
            raise
        self._begin()

    def _begin(self) -> None:
        self.tasks = iter(self.loader._index_sampler)
        self.turn = itertools.cycle(self.workers)
        self.sent = self.received = 0
        self.owner: dict[int, _Worker] = {}
        for _ in range((self.loader.prefetch_factor or 1) * len(self.workers)):
            self._send()

    def restart(self) -> None:
        """Begins an epoch with the same processes."""
        for worker in self.workers:
            while worker.waiting:
                self._receive(worker)
            worker.exhausted = False
            worker.connection.send((RESTART, None))
        self._begin()

    def _send(self) -> None:
        """Gives the next task to the next worker that has not ended."""
        for _ in self.workers:
            worker = next(self.turn)
            if not worker.exhausted:
                break
        else:
            return
        try:
            task = next(self.tasks)
        except StopIteration:
            return
        try:
            worker.connection.send((FETCH, task))
        except (BrokenPipeError, ConnectionResetError):
            self._report_dead(worker)
        worker.waiting.append(self.sent)
        self.owner[self.sent] = worker
        self.sent += 1

    def __iter__(self) -> Iterator:
        return self

    def __len__(self) -> int:
        return len(self.loader)

    def __next__(self) -> Any:
        while self.owner:
            worker = self._next_worker()
            number, found = self._receive(worker)
            del self.owner[number]
            if isinstance(found, Exhausted):
                worker.exhausted = True
                self._send()
                continue
            self._send()
            if isinstance(found, RemoteError):
                found.reraise()
            return found
        if not self.loader.persistent_workers:
            self.close()
        raise StopIteration

    def _next_worker(self) -> _Worker:
        if self.loader.in_order:
            return self.owner[min(self.owner)]
        busy = [worker for worker in self.workers if worker.waiting]
        ready = _wait([worker.connection for worker in busy], self.loader.timeout or None)
        return next((worker for worker in busy if worker.connection in ready), busy[0])

    def _receive(self, worker: _Worker) -> tuple[int, Any]:
        """The answer to a worker's oldest task. Raises RuntimeError if it dies or takes too long.
        """
        limit = self.loader.timeout
        deadline = time.monotonic() + limit if limit else None
        while not worker.connection.poll(0):
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            ready = _wait([worker.connection, worker.process.sentinel], left)
            if not ready:
                raise RuntimeError(f"DataLoader timed out after {limit} seconds")
            if worker.connection not in ready and not worker.connection.poll(0):
                self._report_dead(worker)
        try:
            data = worker.connection.recv_bytes()
        except (EOFError, ConnectionResetError):
            self._report_dead(worker)
        return worker.waiting.popleft(), pickle.loads(data)

    def _report_dead(self, worker: _Worker) -> None:
        worker.process.join(1)
        dead = [str(w.process.pid) for w in self.workers if not w.process.is_alive()]
        code = worker.process.exitcode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        self.close()
        raise RuntimeError(f"DataLoader worker (pid(s) {', '.join(dead)}) exited unexpectedly "
                           f"({how}). Try num_workers=0 to see an error of the dataset itself.")

    def close(self) -> None:
        """Ends the workers; a second call does nothing."""
        workers, self.workers = self.workers, []
        self.owner = {}
        for worker in workers:
            try:
                worker.connection.send((END, None))
            except (BrokenPipeError, OSError):
                pass  # it has ended already
            worker.connection.close()
        for worker in workers:
            worker.process.join(1)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()

    def __del__(self) -> None:
        if getattr(self, "workers", None) and self.process == os.getpid():  # not in a forked copy
            self.close()


def _draw_seed(generator: Any) -> int:
    return int(ops.randint(0, 2**62, (1,), generator=generator).item())
