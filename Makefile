# `make demo` and `make test` need Python 3.11 or newer and nothing else; each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := operators pipelines jobs
TESTS ?= tests
# More than cores: many tests wait for processes that start; a file's tests stay together, for what they share.
PROCESSES ?= 4
IMAGES ?=
# Of `make bench`: MARKS="1 7 8b" measures those alone; NAME is that of the JSON in benchmarks/results/.
MARKS ?=
NAME ?=
CLIENTS ?=
STEPS ?= 1000
SECONDS ?= 600
# The root first: `tests/operators` is no `operators`, and processes that are started look for both.
OF_TESTS := PYTHONPATH=$(CURDIR):$(CURDIR)/tests
SEED ?= 1
PHOTOGRAPHS ?= 2000
KILLS ?=
ROWS ?= 5000
ROUND ?=

.PHONY: setup demo test test-all lint format bench clients machine fuzz nights chaos airflow lock clean

setup: .venv/installed

# Bytecode once and here: where PYTHONDONTWRITEBYTECODE is set, as in most containers, every process compiles all that it
# imports anew (`import timm` 17.9 s, with bytecode 8.3 s).
.venv/installed: requirements.lock requirements-uv.lock pyproject.toml
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m compileall -q $(PACKAGES)
	touch $@

demo: setup
	$(BIN)/python -m jobs.demo

# Modules that have changed are compiled once: where nothing writes bytecode, each process that a test starts compiled
# them anew, 0.2 to 0.6 s of its 3. The tests' own stay compiled from one run to the next: each of the processes that
# share them took 24 s of CPU to read all of them, and 15 s from bytecode.
test: setup
	$(BIN)/python -m compileall -q $(PACKAGES)
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m "not slow" -n $(PROCESSES) --dist loadfile --no-loadscope-reorder $(TESTS)

test-all: setup
	$(BIN)/python -m pytest $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy $(PACKAGES) benchmarks

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# An hour on two quiet cores; at its first start an environment of Daft's own is made in the user's cache.
bench: setup
	$(BIN)/python -m benchmarks.marks $(MARKS) $(if $(IMAGES),--images $(IMAGES)) $(if $(NAME),--name $(NAME))

# Nineteen environments, one after another, with torch in three: a quarter of an hour, and some GB in uv's cache.
# CLIENTS="polars duckdb" runs those alone.
clients: setup
	$(OF_TESTS) $(BIN)/python -m clients.run $(CLIENTS)

# Tables that we and plain lancedb change at random, cut off at random, held against a model after each step.
machine: setup
	$(OF_TESTS) $(BIN)/python -m state_machine --steps $(STEPS) --seed $(SEED)

# Damaged images through a real decoder, damaged manifests through their readers: what ends in anything but rows, pixels
# or a known failure is printed, to be kept as a test.
fuzz: setup
	$(OF_TESTS) $(BIN)/python -m fuzz --seconds $(SECONDS) --seed $(SEED)

# Seven nights over 2,000 photographs in a bucket, audited each morning; then nights and swaps that are killed at random.
nights: setup
	$(OF_TESTS) $(BIN)/python -m nights --photographs $(PHOTOGRAPHS) --kills $(or $(KILLS),60) --seed $(SEED)

# Runs killed at every failpoint and at random, ended, and audited; ROUND=3 does one again, -1 and -2 work on a table.
chaos: setup
	$(OF_TESTS) $(BIN)/python -m chaos --rows $(ROWS) --kills $(or $(KILLS),100) --seed $(SEED) $(if $(ROUND),--round $(ROUND))

# The DAG of docs/nightly.md, loaded by Airflow in an environment of its own.
airflow: setup
	$(OF_TESTS) $(BIN)/python -m nights.airflow_dag

# Versions and hashes only, no host names.
lock: setup
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --extra dev \
		--no-emit-index-url --no-annotate --no-header pyproject.toml -o requirements.lock
	echo uv | $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-annotate --no-header - \
		-o requirements-uv.lock

clean:
	rm -rf .venv demo
