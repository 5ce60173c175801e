"""Processes that do the sweeping: an entry that crashes or never ends costs its own process, which is replaced, and nothing else."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator
from typing import Any

from tests.sweep.checks import Options, Outcome, sweep
from tests.sweep.database import entries


def work(connection: Any, options: Options) -> None:
    """A worker: labels in, outcomes out."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"more than {options.seconds} s")

    signal.signal(signal.SIGALRM, ring)
    while True:
        label = connection.recv()
        if label is None:
            return
        signal.alarm(options.seconds)
        try:
            outcome = sweep(entries()[label], label, options)
        except Exception as error:
            outcome = broken(label, f"{type(error).__name__}: {error}")
        finally:
            signal.alarm(0)
        connection.send(outcome)


def broken(label: str, why: str) -> Outcome:
    outcome = Outcome(label, tried=1)
    outcome.fail("crash", "", why[:200])
    return outcome


class Worker:
    """A process and what it is busy with."""

    def __init__(self, options: Options):
        self.options, self.label = options, ""
        self.connection, theirs = multiprocessing.Pipe()
        context: Any = multiprocessing.get_context("fork")
        self.process = context.Process(target=work, args=(theirs, options), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, label: str) -> None:
        self.label = label
        self.connection.send(label)

    def take(self) -> Outcome:
        """The outcome, or what the loss of the process says. The worker is gone in that case."""
        try:
            if self.connection.poll(self.options.seconds + 30):
                return self.connection.recv()
            self.process.kill()
            return broken(self.label, f"no answer within {self.options.seconds + 30} s")
        except (EOFError, ConnectionError):
            self.process.join()
            return broken(self.label, f"the process ended with {self.process.exitcode}")

    def alive(self) -> bool:
        return self.process.is_alive()

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def run(labels: list[str], options: Options, processes: int) -> Iterator[Outcome]:
    """The outcomes of the labels, in the order in which they are ready."""
    waiting = list(labels)[::-1]
    workers = [Worker(options) for _ in range(min(processes, len(waiting)))]
    busy = {}
    try:
        for worker in workers:
            worker.give(waiting.pop())
            busy[worker.connection] = worker
        while busy:
            ready = multiprocessing.connection.wait(list(busy), options.seconds + 30)
            for connection in ready or list(busy):
                worker = busy.pop(connection)  # type: ignore[arg-type]
                yield worker.take()
                if not waiting:
                    worker.end()
                    continue
                if not worker.alive():
                    worker = Worker(options)
                worker.give(waiting.pop())
                busy[worker.connection] = worker
    finally:
        for worker in busy.values():
            worker.end()
