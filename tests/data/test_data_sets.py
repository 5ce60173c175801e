"""Datasets and samplers."""

import pytest

from eager import data
from eager.construct import tensor
from eager.registry import ops
from eager.rng import Generator


def _seeded(seed):
    generator = Generator()
    generator.manual_seed(seed)
    return generator


def test_datasets():
    pairs = data.TensorDataset(ops.arange(6).reshape(3, 2), tensor([5, 6, 7]))
    assert len(pairs) == 3 and [t.tolist() for t in pairs[1]] == [[2, 3], 6]
    both = pairs + pairs
    assert isinstance(both, data.ConcatDataset) and len(both) == 6
    assert both[4][1].item() == 6 and both[-1][1].item() == 7
    with pytest.raises(ValueError, match="absolute value of index"):
        both[-7]
    some = data.Subset(pairs, [2, 0])
    assert len(some) == 2 and some[0][1].item() == 7 and len(some.__getitems__([0, 1])) == 2
    side = data.StackDataset(a=pairs, b=[1, 2, 3])
    assert side[1]["b"] == 2 and len(side) == 3
    with pytest.raises(AssertionError, match="Size mismatch"):
        data.TensorDataset(tensor([1]), tensor([1, 2]))
    with pytest.raises(NotImplementedError):
        data.Dataset()[0]


def test_random_split():
    parts = data.random_split(range(10), [7, 3], generator=_seeded(1))
    assert [len(p) for p in parts] == [7, 3]
    assert sorted(i for p in parts for i in p) == list(range(10))
    again = data.random_split(range(10), [7, 3], generator=_seeded(1))
    assert [list(p) for p in parts] == [list(p) for p in again]
    assert [len(p) for p in data.random_split(range(10), [0.55, 0.45])] == [6, 4]
    with pytest.raises(ValueError, match="does not equal the length"):
        data.random_split(range(10), [3, 3])


def test_samplers():
    assert list(data.SequentialSampler(range(3))) == [0, 1, 2]
    drawn = list(data.RandomSampler(range(20), generator=_seeded(0)))
    assert sorted(drawn) == list(range(20)) and drawn != list(range(20))
    assert drawn == list(data.RandomSampler(range(20), generator=_seeded(0)))
    assert len(list(data.RandomSampler(range(3), num_samples=7))) == 7
    some = list(data.RandomSampler(range(3), replacement=True, num_samples=50))
    assert len(some) == 50 and set(some) <= {0, 1, 2}
    assert sorted(data.SubsetRandomSampler([4, 7, 9])) == [4, 7, 9]
    heavy = list(data.WeightedRandomSampler([0.0, 1.0, 0.0], 5))
    assert heavy == [1] * 5
    assert sorted(data.WeightedRandomSampler([1.0, 1.0, 1.0], 3, replacement=False)) == [0, 1, 2]
    batches = data.BatchSampler(range(7), 3, drop_last=False)
    assert list(batches) == [[0, 1, 2], [3, 4, 5], [6]] and len(batches) == 3
    assert list(data.BatchSampler(range(7), 3, True)) == [[0, 1, 2], [3, 4, 5]]
    with pytest.raises(ValueError, match="batch_size"):
        data.BatchSampler(range(3), 0, False)
    with pytest.raises(TypeError, match="boolean"):
        data.RandomSampler(range(3), replacement=1)


def test_distributed_sampler_covers_everything():
    shares = [list(data.DistributedSampler(range(10), 3, rank, seed=1)) for rank in range(3)]
    assert {len(s) for s in shares} == {4} and set(sum(shares, [])) == set(range(10))
    plain = [
        list(data.DistributedSampler(range(10), 3, r, shuffle=False, drop_last=True))
        for r in range(3)
    ]
    assert plain == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    with pytest.raises(RuntimeError, match="num_replicas"):
        data.DistributedSampler(range(3))
