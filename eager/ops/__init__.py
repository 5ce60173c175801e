"""The operators, one home each.

    pointwise      arithmetic, exponentials, trigonometry, comparison, selection
    copying        conversion, clone, detach, copy, fill
    view           other shapes over the same memory
    reduction, scan, creation, indexing, linalg, sorting, random
    activation, convolution, pooling, normalization, attention, embedding, padding, dropout, loss, interpolate
"""

import importlib
import pkgutil

# every file declares its operators when it is imported
for _module in sorted(m.name for m in pkgutil.iter_modules(__path__)):
    importlib.import_module(f"{__name__}.{_module}")
