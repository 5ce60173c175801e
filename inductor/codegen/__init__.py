"""From loops to machine code.

scalar      the algebra whose values are expressions of Numba's dialect of Python
kernel      a group of loops as one function: nests, phases, accumulators
intrinsics  what generated functions call beyond plain Python (imports numba)
philox      random bits inside a kernel (imports numba)
build       source text to a loaded native function, through the cache
plain       kernels run as Python, for a debugger
crew        compiling with all cores
"""
