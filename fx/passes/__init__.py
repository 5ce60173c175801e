"""Passes over a graph, one per file, the file named after the pass.

shape      meta["val"] of every node, by running the graph on fake tensors
dead       erases what nothing uses
duplicate  computes equal expressions once
fold       computes now what depends on constants only
"""
