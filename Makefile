# `make demo` and `make test` create .venv themselves; PYTHON picks the interpreter.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: demo test test-slow lint docs site format clean

demo: $(VENV)/.installed
	$(BIN)/koopctrl demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow"

# Statistical and long checks, the pages of docs and the examples among them: once for a change, as .ci/run does.
test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist worksteal -m slow

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright

# Runs the pages, writes what they print into them, and builds the site; `site` leaves the pages as they are.
docs: $(VENV)/.installed-docs
	MPLBACKEND=Agg $(BIN)/python docs/build.py
	$(BIN)/python docs/site/make.py

site: $(VENV)/.installed-docs
	$(BIN)/python docs/site/make.py
	$(BIN)/python -m pytest -q tests/test_site_in_browser.py

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet -e ".[test,deploy]"
	touch $@

$(VENV)/.installed-docs: pyproject.toml $(VENV)/.installed-test
	$(BIN)/python -m pip install --quiet -e ".[docs]"
	touch $@

clean:
	rm -rf $(VENV)
