"""Loading data, PyTorch's `torch.utils.data`.

    dataset     where samples come from: Dataset, IterableDataset, and their combinations
    sampler     in which order: sequential, random, weighted, in batches
    collate     samples into a batch
    worker      what runs in a worker process, and how its exceptions come home
    loader      DataLoader, in this process or with workers
"""

from eager.data.collate import default_collate, default_convert
from eager.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from eager.data.loader import DataLoader
from eager.data.sampler import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from eager.data.worker import get_worker_info

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "DistributedSampler",
    "IterableDataset", "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "Subset",
    "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler", "default_collate",
    "default_convert", "get_worker_info", "random_split",
]
