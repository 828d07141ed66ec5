# `make` alone explains itself. Every target makes .venv from the lock when it is not there or the lock changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TESTS := $(BIN)/python -m pytest -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo stack secrets test test-faults search test-slow test-kill test-loop lint format types laws check bench bench-tables bench-images bench-scale oracle-aces oracle-dicom fuzz-dicom oracle-lock s3-lock lock clean

help: ## show this
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(READY) ## make .venv from requirements.lock

# uv's own hashes stand in the lock, so it can be installed first and then install the rest, checked, in seconds.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	awk '/^[a-z0-9]/ {keep = /^uv==/} keep' requirements.lock > $(VENV)/uv.lock
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r $(VENV)/uv.lock
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --offline --editable .
	touch $(READY)

demo: $(READY) ## generated data, two problems, each to a promoted champion
	$(BIN)/medai demo

stack: $(READY) ## the services of docker/ as processes on loopback, until Ctrl-C; STACK=folder of their data
	$(if $(STACK),MEDAI_STACK=$(STACK) )$(BIN)/medai stack up

secrets: ## random secrets for docker/compose.yaml, in docker/secrets
	sh docker/secrets.sh

test: $(READY) ## the tests; real data too where MEDAI_TEST_DATA names them
	$(TESTS) -m "not slow"

test-faults: $(READY) ## what bad input gets, case by case, and their count; make test has them too
	$(TESTS) tests/faults

search: $(READY) ## the tests of properties, with examples that are new each time
	$(TESTS) -m "hypothesis and not slow" --hypothesis-profile=search

test-slow: $(READY) ## the long tests: servers, schedules, real-data training, an installed package
	$(TESTS) -m "slow and not kill and not loop"

test-loop: $(READY) ## the governed loop on the real stack; MEDAI_LOOP=folder keeps its pages; needs PostgreSQL
	$(BIN)/python -m pytest -m loop -s

test-kill: $(READY) ## kill the road, or fill its disk, at its commit points, and at random moments; KILLS=n takes every n-th only, KILL_PART=k/n a part of all, KILL_MINUTES=n
	$(TESTS) -m kill

lint: $(READY) ## ruff, check and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

laws: $(READY) ## the import laws
	$(BIN)/lint-imports

check: lint types laws test ## all that a commit must pass

bench: $(READY) ## fit stage against a bare Keras script, reuse; REPEATS=n
	$(BIN)/python -m tests.bench.fit

bench-tables: $(READY) ## csv.gz to snapshot to arrays against inflating, decoding and pandas; ROWS=n REPEATS=n
	$(BIN)/python -m tests.bench.tables

bench-images: $(READY) ## PNG and JPEG to the pixel cache against inflating and decoding; an epoch from it; PICTURES=n REPEATS=n
	$(BIN)/python -m tests.bench.images

bench-scale: $(READY) ## a synthetic MIMIC-IV of 100 million chart rows to arrays on two cores; PATIENTS=n PROBLEM=name DATA=folder
	$(BIN)/python -m tests.bench.scale

oracle-aces: $(VENV)/aces/.ready ## ACES in an environment of its own: the oracle of the cohort language

$(VENV)/aces/.ready: tests/oracles/aces.lock | $(READY)
	$(BIN)/uv venv --quiet --clear $(VENV)/aces
	$(BIN)/uv pip sync --quiet --python $(VENV)/aces/bin/python --require-hashes tests/oracles/aces.lock
	touch $@

oracle-dicom: $(READY) ## pydicom's test files by medai, dcmtk and GDCM: equal, set aside, silent, crashes; needs dcmtk
	$(BIN)/python -m tests.oracles.dicom_pixels

fuzz-dicom: $(READY) ## read and de-identify damaged DICOM files, MUTANTS=20000 of them: a reason each, and no defect
	$(BIN)/python -m tests.medai.sources.dicom.mutants $(MUTANTS)

oracle-lock: $(READY) ## resolve tests/oracles/aces.in anew
	$(BIN)/uv pip compile tests/oracles/aces.in --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make oracle-lock" --quiet --output-file tests/oracles/aces.lock

s3-lock: $(READY) ## resolve docker/s3.in anew, to the versions of requirements.lock
	$(BIN)/uv pip compile docker/s3.in --constraint requirements.lock --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make s3-lock" --quiet --output-file docker/s3.lock

lock: ## resolve pyproject.toml anew into requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group dev --extra imaging --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean: ## remove the environment and caches; .medai stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
