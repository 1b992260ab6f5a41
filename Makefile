# `make demo` and `make test` need git, make and python3 (3.11 or newer) only.
.PHONY: install demo test test-long check
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,hub]'
	touch $@
