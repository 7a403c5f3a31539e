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

.PHONY: help install demo test test-rest test-long test-all lint docs bench detection loop chaos clean

help: ## Say what can be done
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

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

PYTEST := $(BIN)/python -m pytest --dist loadfile
NO_KAFKA := env -u DRIFTLINE_REQUIRE_APACHE_KAFKA

test: $(VENV)/.installed-dev ## What to run before a commit: fast tests, and a few on real servers (ARGS="tests/unit -k drift")
ifeq ($(strip $(ARGS)),)
	$(NO_KAFKA) $(PYTEST) -n auto -m "not kafka and not slow"
	$(PYTEST) -n 2 -m "kafka and smoke"
else
	$(BIN)/python -m pytest $(ARGS)
endif

test-rest: $(VENV)/.installed-dev ## The tests that `make test` leaves out, but the long ones
	$(NO_KAFKA) $(PYTEST) -n auto -m "not kafka and slow"
	$(PYTEST) -n 2 -m "kafka and not smoke and not long"

test-long: $(VENV)/.installed-dev ## Tests with Kafka that repeat others at more places
	$(PYTEST) -n 2 -m "kafka and not smoke and long"

test-all: export HYPOTHESIS_PROFILE := all
test-all: test test-rest test-long ## All tests but long chaos and detection runs

lint: $(VENV)/.installed-dev ## Style, types, import rules, compose file
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	docker compose -f infra/compose.yaml config -q

docs: $(VENV)/.installed-dev ## Write the code map, the configuration reference and the sample settings file
	$(BIN)/python -m tests.architecture.generated_documents

bench: $(VENV)/.installed-dev ## Against the programs that people write instead (ARGS="--quick --plot FILE")
	$(BIN)/python -m tests.benchmarks.throughput $(ARGS)

detection: $(VENV)/.installed-dev ## Does the false-alarm budget hold, how soon is drift found (ARGS="--quick --plot FILE")
	$(BIN)/python -m tests.benchmarks.detection $(ARGS)

loop: $(VENV)/.installed-dev ## Is the retraining loop worth having, on real and synthetic streams (ARGS="--quick --only flights")
	$(BIN)/python -m tests.benchmarks.loop $(ARGS)

chaos: $(VENV)/.installed-dev ## Faults by seed on real processes, compared with an oracle (SEED=1 MINUTES=5 ONLY=redis KILLS=200 SOAK=30 COMPARE=1)
	$(BIN)/python -m tests.chaos --seed $(SEED) --minutes $(MINUTES) --only "$(ONLY)" \
		$(if $(KILLS),--kills $(KILLS)) $(if $(SOAK),--soak $(SOAK)) $(if $(COMPARE),--compare)

clean: ## Remove what this file made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
