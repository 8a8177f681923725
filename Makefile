# Everything a fresh machine needs is made by the target that needs it.
PYTHON ?= python3.11
BIN := .venv/bin
# The Hub client's own telemetry and its second transfer protocol stay off in every run.
export HF_HUB_DISABLE_XET = 1
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: install demo test check format bench chaos fuzz screenshots
install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[runner,dev]'
	touch $@

demo: install
	$(BIN)/python -m tests.demo

test: install
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py tests/test_migrations.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	$(BIN)/python -m tests.bench

chaos: install
	$(BIN)/python -m tests.chaos

fuzz: install
	$(BIN)/python -m tests.fuzz

screenshots: install
	$(BIN)/python -m tests.web.screenshots
