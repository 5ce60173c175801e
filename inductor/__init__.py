"""Pure graphs to native programs, in the order in which a graph flows through them.

config        the settings, from the environment or set in the process
compile       the pipeline: `compile_graph(graph_module, example_inputs)`
compiled      the callable that it gives
products      sums of products become one product
lower         operators to loops, one method per kind; what cannot be lowered becomes a fallback
values        what a tensor is meanwhile: stored memory, or a computation inlined into its readers
indexing      lowerings: creation, concatenation, padding, gathering, gradients of views
scatter       lowerings: writing at computed places
window        lowerings: pooling
shifting      lowerings: rolls, parts written into a tensor, adaptive pooling, running sums
philox        lowerings: random numbers
extern        lowerings: matrix products, which have a template
attention     lowerings: attention and its gradients, which have templates
convolution   lowerings: convolutions and their gradients, which have templates
channelslast  the same of images with their channels last
halves        products and convolutions of half precision
volumes       convolutions in three dimensions as ones in two
tuning        ways of doing the same, chosen by timing
ways          the ways of a convolution
loops         the loop IR: buffers, loops, and the typed scalar algebra of their bodies
pieces        which reductions are done in two steps
index         index expressions, simplified by the ranges of the loop variables
scheduler     which loops share a kernel, and the order of everything
planner       how a kernel's loops are nested
epilogue      loops that join the matrix product or convolution that they read
codegen/      groups of loops to source text, and text to machine code
vectormath    exp, log, tanh, erf, … as branch-free code that vectorises
trigonometry  sine, cosine, tangent and their inverses, likewise
specialmath   rarely used scalar functions
cache         object code on disk, without pickle
weights       weights in the order in which kernels read them, kept between calls
folding       what is computed of weights alone, likewise
inplace       results that take the memory of an input
bundle        gradients that share a block
memory        where buffers live: blocks, and one workspace of temporaries
pair          the memory that forward and backward half of a training step share
templates/    kernels written as LLVM IR: matrix products, convolutions
native        LLVM IR or object code to callable addresses
program       the launch program: one native call per graph
launcher      its native half
threads       one thread budget for everything native
pool          the threads that help launch programs
draw          bulk random numbers for eager, compiled
dump          what a compilation leaves to look at
progress      a line on the terminal while compiling takes long
"""
