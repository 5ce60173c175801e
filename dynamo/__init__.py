"""Python -> graphs: frames, bytecode, guards, graph breaks and resume functions.

encoding      the exception table and the location table of a code object
instruction   one instruction, and CPython's tables about it
builder       instruction sequences that do the same on every supported Python
bytecode      decode a code object, assemble it again
"""
