"""What a Python object is while a frame is interpreted, one kind of value per class.

- `base`: `Value`, Python's protocols with their defaults; `NULL`
- `constant`: immutable literals, computed while interpreting
- `number`: numbers that change from call to call
- `tensor`: tensors (fakes whose operations are recorded) and functions of the tensor library
- `container`: list, tuple, deque, set, frozenset, slice
- `dictionary`: dict, OrderedDict, defaultdict, Counter, their views
- `function`: functions, nested functions with their cells, bound methods, partial
- `iterator`: iterators, zip, enumerate, map, filter, itertools, generators
- `exception`: exceptions that the program raises and catches
- `attributes`: `__dict__` of an object
- `object`: instances of user classes, descriptors, super
- `module`: Python modules and nn.Module instances
- `klass`: classes and what calling them gives
- `builtin`: built-in functions
- `backward`: backward passes
- `derivative`: custom autograd functions
- `wrap`: from a Python object and its source to a guarded value
"""
