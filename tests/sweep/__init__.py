"""The sweep: flambeau against torch's own operator database, sample by sample (`python -m tests.sweep`).

    database      torch's OpInfo entries, and which of them are not for this machine
    convert       torch's values as flambeau's: memory, strides, types; its lambdas over flambeau
    compare       are two results the same: values, types, shapes, memory; exceptions; distributions
    checks        what is done with one entry: calls, variants, `out=`, gradients, errors
    expected      the failures that are known, with their reasons
    workers       processes that survive a crash or an endless loop of one entry
    census        what 164 models call
    report        the table, the summary and docs/operators.md
    __main__      the command
"""
