"""Names that typed model code imports: containers, and lists that TorchScript would fill from one number."""

from typing import Any, Dict, List, Optional, Tuple, Union  # noqa: UP035

from flambeau.missing import lookup


class _BroadcastingList:
    def __getitem__(self, item: Any) -> Any:
        return List[item]  # noqa: UP006


BroadcastingList1 = BroadcastingList2 = BroadcastingList3 = _BroadcastingList()
__getattr__ = lookup(__name__)
