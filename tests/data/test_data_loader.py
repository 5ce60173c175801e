"""DataLoader in this process and with workers: order, collation, seeds, exceptions, dead
workers."""

import os
import signal
import time
from collections import namedtuple

import numpy as np
import pytest

from eager import data
from eager.construct import tensor
from eager.registry import ops
from eager.rng import manual_seed

Point = namedtuple("Point", "x y")


class Squares(data.Dataset):
    def __init__(self, count=10):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        if not 0 <= i < self.count:
            raise IndexError(i)
        return tensor([float(i), float(i * i)]), i


class Stream(data.IterableDataset):
    def __init__(self, count=10):
        self.count = count

    def __iter__(self):
        info = data.get_worker_info()
        start, step = (0, 1) if info is None else (info.id, info.num_workers)
        return iter(range(start, self.count, step))


class Faulty(Squares):
    def __getitem__(self, i):
        if i == 5:
            raise KeyError("no such sample")
        return i


class Deadly(Squares):
    def __getitem__(self, i):
        if i == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return i


class Slow(Squares):
    def __getitem__(self, i):
        time.sleep(5)
        return i


class Seeded(Squares):
    def __getitem__(self, i):
        return data.get_worker_info().seed, ops.rand((1,)).item(), float(np.random.rand())


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_in_order(workers):
    loader = data.DataLoader(Squares(), batch_size=4, num_workers=workers)
    batches = list(loader)
    assert len(loader) == 3 and [x.shape for x, _ in batches] == [(4, 2), (4, 2), (2, 2)]
    assert [i for _, numbers in batches for i in numbers.tolist()] == list(range(10))
    assert batches[0][0].tolist() == [[0, 0], [1, 1], [2, 4], [3, 9]]
    assert len(list(data.DataLoader(Squares(), 4, drop_last=True, num_workers=workers))) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffling_follows_the_seed(workers):
    orders = []
    for number in (0, workers):  # and not the number of workers
        manual_seed(3)
        loader = data.DataLoader(Squares(), 3, shuffle=True, num_workers=number)
        orders.append([i for _, numbers in loader for i in numbers.tolist()])
    assert orders[0] == orders[1] and sorted(orders[0]) == list(range(10))
    assert orders[0] != list(range(10))


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_iterable(workers):
    loader = data.DataLoader(Stream(), batch_size=3, num_workers=workers)
    assert sorted(i for batch in loader for i in batch.tolist()) == list(range(10))
    singles = data.DataLoader(Stream(4), batch_size=None, num_workers=workers)
    assert sorted(int(i) for i in singles) == [0, 1, 2, 3]


def test_persistent_workers_and_other_order():
    loader = data.DataLoader(Squares(), 2, num_workers=2, persistent_workers=True)
    first = [i for _, n in loader for i in n.tolist()]
    pids = [w.process.pid for w in loader._iterator.workers]
    next(iter(loader))
    assert [i for _, n in loader for i in n.tolist()] == first
    assert [w.process.pid for w in loader._iterator.workers] == pids
    loader._iterator.close()
    loose = data.DataLoader(Squares(), 2, num_workers=2, in_order=False)
    assert sorted(i for _, n in loose for i in n.tolist()) == first


def test_exception_comes_home_with_its_traceback():
    loader = data.DataLoader(Faulty(), 2, num_workers=2)
    with pytest.raises(KeyError) as error:
        list(loader)
    text = str(error.value)
    assert "Caught KeyError in DataLoader worker process 0" in text
    assert "Original Traceback (most recent call last):" in text and "in __getitem__" in text
    assert "no such sample" in text
    with pytest.raises(KeyError, match="no such sample"):
        list(data.DataLoader(Faulty(), 2))


def test_iteration_goes_on_after_an_exception():
    batches = iter(data.DataLoader(Faulty(), 2, num_workers=2))
    seen, failed = [], 0
    while True:
        try:
            seen.append(next(batches).tolist())
        except KeyError:
            failed += 1
        except StopIteration:
            break
    assert failed == 1 and seen == [[0, 1], [2, 3], [6, 7], [8, 9]]


def test_killed_worker_is_noticed():
    with pytest.raises(
        RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly"
    ):
        list(data.DataLoader(Deadly(), 2, num_workers=2))


def test_timeout_and_no_process_left():
    loader = iter(data.DataLoader(Slow(), 1, num_workers=1, timeout=0.2))
    with pytest.raises(RuntimeError, match="timed out after 0.2 seconds"):
        next(loader)
    processes = [worker.process for worker in loader.workers]
    del loader
    assert not any(process.is_alive() for process in processes)


def _fail(worker_id):
    raise OSError("no disk")


def test_worker_start_and_seeds():
    with pytest.raises(OSError, match="Caught OSError in DataLoader worker process 0"):
        next(iter(data.DataLoader(Squares(), 2, num_workers=1, worker_init_fn=_fail)))
    manual_seed(0)
    rows = list(data.DataLoader(Seeded(4), 1, num_workers=2))
    seeds = [int(row[0]) for row in rows]
    assert seeds[1] == seeds[0] + 1 and seeds[2] == seeds[0]
    assert rows[0][1].item() != rows[1][1].item() and rows[0][2].item() != rows[1][2].item()


def test_spawned_workers():
    loader = data.DataLoader(list(range(4)), 2, num_workers=1, multiprocessing_context="spawn")
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3]]


def test_collation():
    samples = [
        {"a": 1, "b": (2.0, "x"), "c": np.array([1, 2]), "d": Point(1, [True, None or 2])},
        {"a": 3, "b": (4.0, "y"), "c": np.array([3, 4]), "d": Point(2, [False, 5])},
    ]
    batch = data.default_collate(samples)
    assert batch["a"].tolist() == [1, 3] and str(batch["b"][0].dtype) == "torch.float64"
    assert batch["b"][1] == ["x", "y"] or batch["b"][1] == ("x", "y")
    assert batch["c"].tolist() == [[1, 2], [3, 4]] and isinstance(batch["d"], Point)
    assert batch["d"].x.tolist() == [1, 2]
    assert data.default_collate([np.float32(1), np.float32(2)]).dtype.name == "float32"
    with pytest.raises(TypeError, match="must contain tensors"):
        data.default_collate([object()])
    with pytest.raises(RuntimeError, match="equal size"):
        data.default_collate([[1], [1, 2]])
    assert data.default_convert([np.zeros(2), "x"])[0].tolist() == [0.0, 0.0]
    mine = data.DataLoader(Squares(4), 2, collate_fn=lambda samples: len(samples))
    assert list(mine) == [2, 2]


def test_options_that_exclude_each_other():
    cases = [
        (dict(shuffle=True, sampler=[1]), "mutually exclusive with shuffle"),
        (dict(batch_sampler=[[1]], batch_size=3), "mutually exclusive with batch_size"),
        (dict(batch_size=None, drop_last=True), "mutually exclusive with drop_last"),
        (dict(num_workers=-1), "non-negative"),
        (dict(prefetch_factor=2), "multiprocessing"),
        (dict(persistent_workers=True), "num_workers > 0"),
        (dict(timeout=-1), "non-negative"),
        (dict(batch_size=0), "positive integer"),
        (dict(multiprocessing_context="fork"), "multi-process loading"),
        (dict(multiprocessing_context="nope", num_workers=1), "valid start method"),
    ]
    for how, match in cases:
        with pytest.raises(ValueError, match=match):
            data.DataLoader(Squares(), **how)
    with pytest.raises(ValueError, match="IterableDataset"):
        data.DataLoader(Stream(), shuffle=True)


def test_signature_is_torchs():
    torch = pytest.importorskip("torch")
    import inspect

    mine, theirs = (
        inspect.signature(c.__init__).parameters.values()
        for c in (data.DataLoader, torch.utils.data.DataLoader)
    )
    assert [(p.name, p.default, p.kind) for p in mine] == [
        (p.name, p.default, p.kind) for p in theirs
    ]


def test_attributes_that_would_have_no_effect_are_refused():
    loader = data.DataLoader(Squares())
    for name in ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers"):
        with pytest.raises(ValueError, match="should not be set after"):
            setattr(loader, name, None)
    loader.collate_fn = len
    with pytest.raises(TypeError, match="valid context object"):
        data.DataLoader(Squares(), num_workers=1, multiprocessing_context=3)
    with pytest.raises(ValueError, match="positive integer"):
        data.DataLoader(Squares(0), shuffle=True)
