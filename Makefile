# SPDX-License-Identifier: Apache-2.0
# Every target does its own set-up; see scripts/setup.sh.

PYTHON := .venv/bin/python

# Tests are compiled once, whatever the shell says: two processes that compile all of them take 9 s longer.
export PYTHONDONTWRITEBYTECODE :=

# Blender's module can hang when the process ends; KILL ends it all the same.
LIMIT := timeout --signal=KILL

# For train-mini: where everything goes, and how. POSES is a file or folder of poses; without it poses are constructed.
# make figures needs POSES.
OUT := runs/train-mini
POSES :=
MINUTES :=
SHARE :=
WORKERS := 2
QUICK :=

# Of the order in which make check runs the tests; pytest prints it.
SEED := 1

# Two tests at a time, those of a file one after the other.
TWO := --numprocesses 2 --dist loadfile

.PHONY: help setup setup-gui demo check fast test test-all test-gui test-matrix ray bench figures chaos fuzz coverage train-mini lint docs addon lock clean

help:
	@echo "make demo      type four instructions in headless Blender and render what they did (out/demo.png)"
	@echo "make check     lint, types and the fast tests, in random order (SEED=N repeats one)"
	@echo "make fast      the fast tests alone"
	@echo "make test      lint, types, docs and every test but those that take minutes or need a window"
	@echo "make test-all  the same with what takes minutes"
	@echo "make test-gui  use the add-on with mouse and keyboard in a real Blender window (needs root)"
	@echo "make test-matrix  the add-on's headless tests in every Blender that it supports and this machine can install"
	@echo "make bench     measure; one JSON object a line"
	@echo "make figures POSES=FILE   measure the weights that ship: the figures of the documentation, into out/figures"
	@echo "make chaos     10,000 requests of clients that behave badly, to a backend whose engine breaks down"
	@echo "make fuzz      200,000 damaged messages, 5,000 pictures and 5,000 pickles"
	@echo "make coverage  which branches of contract, session and server the tests do not reach"
	@echo "make train-mini POSES=FILE   train mini from poses to a measured model; run again to go on"
	@echo "                (OUT=FOLDER, MINUTES=training time, SHARE=part of the samples, WORKERS=N, QUICK=1)"
	@echo "make lint      ruff, mypy, import-linter, and the linters of the workflows"
	@echo "make docs      build the documentation into out/site; dead links are errors"
	@echo "make addon     build the Blender extension into dist/"

setup:
	@scripts/setup.sh

setup-gui:
	@scripts/setup.sh gui
	@scripts/debian_root.sh .cache/debian13

demo: setup
	$(LIMIT) 600 $(PYTHON) demo/run.py

# Lint runs beside the tests: before them it would leave a core idle.
check: setup
	@$(MAKE) --no-print-directory --jobs 2 --keep-going lint fast

fast: setup
	$(LIMIT) 1200 $(PYTHON) -m pytest -q -m "not slow and not full and not gui" $(TWO) --timeout 300 \
		--durations 10 --random-order --random-order-seed $(SEED)

test: check docs
	$(LIMIT) 2100 $(PYTHON) -m pytest -m "slow and not full and not gui" $(TWO) --timeout 600 --durations 10

# Ray, for the replicas: 44 packages that nothing else needs.
ray: setup
	$(PYTHON) -m pip install --quiet --constraint requirements.lock 'ray[serve]==2.60.0'

test-all: lint docs ray
	$(LIMIT) 5400 $(PYTHON) -m pytest -m "not gui" $(TWO) --timeout 1200

test-gui: setup-gui
	$(LIMIT) 900 $(PYTHON) -m pytest tests/blender/gui -m gui --timeout 600

test-matrix: setup
	$(PYTHON) scripts/test_matrix.py

bench: setup
	@$(LIMIT) 1200 $(PYTHON) -m benchmarks

figures: setup
	@scripts/figures.sh "$(POSES)"

chaos: setup
	$(LIMIT) 900 $(PYTHON) -m tests.robustness.chaos --requests 10000

fuzz: setup
	$(LIMIT) 1800 $(PYTHON) -W ignore -m tests.robustness.fuzz

coverage: setup
	$(PYTHON) -m coverage erase
	$(LIMIT) 1800 $(PYTHON) -m coverage run -m pytest -q -m "not full and not gui" --timeout 600 \
		tests/contract tests/addon tests/robustness tests/backend/test_server.py tests/backend/test_server_faults.py \
		tests/backend/test_shares.py tests/backend/test_sandbox.py tests/backend/test_batch.py \
		tests/backend/test_serve.py tests/backend/test_words.py tests/backend/test_frozen.py \
		tests/backend/test_painter.py
	$(PYTHON) -m coverage combine
	$(PYTHON) -m coverage report

train-mini: setup
	$(PYTHON) -m training.recipe --output "$(OUT)" --workers $(WORKERS) $(if $(POSES),--poses "$(POSES)") \
		$(if $(MINUTES),--minutes $(MINUTES)) $(if $(SHARE),--share $(SHARE)) $(if $(QUICK),--quick)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	.venv/bin/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	.venv/bin/zizmor --offline --quiet .github

docs: setup
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

addon: setup
	$(PYTHON) build_addon.py

lock: setup
	$(PYTHON) scripts/lock.py

clean:
	rm -rf dist out .pytest_cache .mypy_cache .ruff_cache
