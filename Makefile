# Everything here sets itself up: the first call makes .venv and installs into it.
PYTHON ?= python3
ARGS ?=
SEED ?= 1
MINUTES ?= 5
ONLY ?=
KILLS ?=
SOAK ?=
COMPARE ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q -c constraints.txt
SOURCES := pyproject.toml constraints.txt

.PHONY: help install demo test lint docs bench detection chaos clean

help: ## Say what can be done
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-demo: $(SOURCES) | $(VENV)/bin/python
	$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(SOURCES) | $(VENV)/bin/python
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.installed-demo

install: $(VENV)/.installed-dev ## Install driftline and all its tools into .venv

demo: $(VENV)/.installed-demo ## A year of real flights through Kafka, watched live (ARGS="--headless --json")
	@$(BIN)/driftline demo $(ARGS)

test: $(VENV)/.installed-dev ## Unit, property, contract and integration tests (ARGS="tests/unit -k drift")
ifeq ($(strip $(ARGS)),)
	env -u DRIFTLINE_REQUIRE_APACHE_KAFKA $(BIN)/python -m pytest -m "not kafka" -n auto --dist loadfile
	$(BIN)/python -m pytest -m kafka -n 2 --dist loadfile
else
	$(BIN)/python -m pytest $(ARGS)
endif

lint: $(VENV)/.installed-dev ## Style, types, import rules, compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	docker compose -f infra/compose.yaml config -q

docs: $(VENV)/.installed-dev ## Write the code map, the configuration reference and the sample settings file
	$(BIN)/python -m tests.architecture.generated_documents

bench: $(VENV)/.installed-dev ## Against the textbook program and the best hand-written loop
	$(BIN)/python tests/benchmarks/drain.py $(ARGS)

detection: $(VENV)/.installed-dev ## Does the false-alarm budget hold, how soon is drift found (ARGS="--quick --plot FILE")
	$(BIN)/python -m tests.benchmarks.detection $(ARGS)

chaos: $(VENV)/.installed-dev ## Faults by seed on real processes, compared with an oracle (SEED=1 MINUTES=5 ONLY=redis KILLS=200 SOAK=30 COMPARE=1)
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES) --only "$(ONLY)" \
		$(if $(KILLS),--kills $(KILLS)) $(if $(SOAK),--soak $(SOAK)) $(if $(COMPARE),--compare)

clean: ## Remove what this file made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
