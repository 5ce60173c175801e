"""The benchmark: models compiled against the same models run eagerly, and torch beside them where it is installed.

__main__.py   the command line: which models, modes and peers
case.py       one model source loaded on flambeau and on torch, with the same weights and inputs
measure.py    interleaved timing and peak memory
accuracy.py   outputs and gradients compared
report.py     rows, the CSV file, the table and the progress line
chart.py      the bar chart
wordpiece.py  the tokenizer for sentences.txt
models/       the models
peers/        other libraries that run them: ONNX Runtime, OpenVINO, JAX
"""
