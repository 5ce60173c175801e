"""The thread budget (`eager.threads`), and NumPy's BLAS held to one thread while we split its work
ourselves: see `single_threaded_blas`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from eager.threads import available, cell_address, get_num_threads, set_num_threads

__all__ = [
    "available", "cell_address", "get_num_threads", "set_num_threads", "single_threaded_blas",
]


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold NumPy's BLAS to one thread, so that its pool and ours do not fight for the same cores.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        yield
