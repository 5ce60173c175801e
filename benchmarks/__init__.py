"""The benchmark: models compiled against the same models run eagerly, and torch beside them where it is installed.

__main__.py   the command line: which models, modes and peers
case.py       one model source loaded on flambeau and on torch, with the same weights and inputs
measure.py    interleaved timing and peak memory
accuracy.py   outputs and gradients compared
report.py     rows, the CSV file, the table and the progress line
chart.py      the bar chart
eager.py      `python -m benchmarks.eager`: single calls against torch eager
calls.py      those calls
first.py      seconds to a new process's first result, with empty and full caches (`python -m benchmarks.first`)
document.py   sections of docs/performance.md
wordpiece.py  the tokenizer for sentences.txt
steps.py      where a compiled model's time goes, step by step
roofline.py   each family of kernels against the machine's limits (`python -m benchmarks.roofline`)
convolutions.py  the tables of docs/performance.md on convolutions
models/       the models
peers/        other libraries that run them: ONNX Runtime, OpenVINO, JAX
"""
