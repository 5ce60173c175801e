"""From loops to machine code.

scalar      the algebra whose values are expressions of kernel text
kernel      a group of loops as one function: nests, phases, accumulators
words       what kernel text says beyond plain Python, as Python
philox      random bits inside a kernel
types       the types of kernel text
translate   kernel text to LLVM's language
intrinsics  the words as LLVM instructions
writer      instructions of a function, by type
build       source text to a loaded native function, through the cache
plain       kernels run as Python, for a debugger
crew        compiling with all cores
"""
