"""Python -> graphs: frames, bytecode, guards, graph breaks and resume functions.

A call reaches a frame, the frame is interpreted, the graph compiled, and the frame replaced:

- `frame`: from a call to a cache entry; `optimize`, `disable`, `reset`
- `evaluator`: the PEP 523 hook; `layout` CPython's structures, `native` its code, `fallback` without it
- `translate`: from a frame to compiled code, with breaks where something cannot be captured
- `machine`: the symbolic machine, a frame that interprets bytecode over values
- `opcodes/`: handlers of the instructions
- `values/`: what a Python object is meanwhile
- `services`: what values ask of the machine; `calls` inlines a call
- `capture`: the graph, its inputs, the recorder of operators; `inner` a graph inside it, scalars that are known
- `source`: how to read a value again; `guard` the conditions, compiled to one function; `conditions` their text
- `structure`: what a model looked like when its guards held, so that only changes are looked at; `words` that natively
- `effects`: what changed, and how it is replayed after the graph
- `emit`: the bytecode that calls the graph and rebuilds values
- `resume`: where Python goes on after a break
- `encoding`, `instruction`, `bytecode`, `builder`: code objects taken apart, written, put together
- `unsupported`: what stops capture; `explain` the account of it
- `backends`: compilers of graphs by name
- `testing`: programs as their own tests
"""
