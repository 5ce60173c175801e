"""One graph becomes two.

recorder     an interpreter that runs shape rules and writes a graph
functional   in-place writes, views and random operators become pure functions
attention    attention written out by hand becomes the operator
joint        autograd's derivatives recorded behind the forward graph
decompose    operators that the compiler does not claim are opened
partition    the minimum cut between forward and backward
runtime      mutations written back, aliases made, autograd connected
compile      the pipeline
"""
