# Everything here sets itself up: Python >= 3.11 and make are all it takes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The versions that were tested together; see docs/dependencies.md on why a lock is needed.
LOCK := constraints.txt
CATALOG ?= $(or $(CROSSCITY_CATALOG),data_catalog.yaml)
# Of the server, on the loopback interface; 0 takes any free one.
PORT ?= $(or $(CROSSCITY_PORT),4200)
# Of `make server`: 0.0.0.0 has other machines reach it, which takes a password (docs/operate.md).
LISTEN ?= 127.0.0.1
# Processes that run the tests: one more than two cores, as many tests wait for servers. Each may start
# one: about 2 GiB of memory.
WORKERS ?= 3
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help demo test test-slow test-newest test-oldest bandit sbom test-browser lint format types imports check lock docs gallery dashboard up down server worker deploy clean

help:  ## What can be made.
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[dev]'
	@$(BIN)/crosscity warm-up
	@touch $@

demo: $(READY)  ## Harvest, match, adapt and evaluate an embedded city; writes a report.
	@$(BIN)/crosscity demo --catalog $(CATALOG)

test: $(READY)  ## The default tests: minutes on two cores. WORKERS=4 where there are more.
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-slow: $(READY)  ## The long tests.
	$(BIN)/python -m pytest -m slow

test-browser: $(READY)  ## The dashboard in a real browser; installs Chromium where it is missing.
	@command -v chromedriver >/dev/null || (apt-get update && apt-get install -y chromium chromium-driver)
	$(BIN)/python -m pytest -m browser

lint: $(READY)  ## Style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(READY)  ## Static types.
	$(BIN)/mypy

imports: $(READY)  ## Imports run downwards only.
	$(BIN)/lint-imports

check: lint types imports bandit  ## All static checks.

lock: $(READY)  ## Write the versions that are installed now to the lock.
	$(BIN)/python -m pip freeze --exclude-editable --exclude pip --exclude setuptools | sed 's/+cpu$$//' > $(LOCK)
	$(BIN)/uv pip compile --quiet pyproject.toml --extra s3 --extra dask --constraint $(LOCK) --generate-hashes \
		--universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --output-file requirements.lock

# uv finds the newest versions in seconds; pip had not ended after an hour and a half.
test-newest: $(READY)  ## The default tests with the newest versions that pyproject.toml allows, in an environment of their own.
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-newest
	$(BIN)/uv pip install --quiet --python .venv-newest/bin/python --upgrade --editable '.[dev]'
	@.venv-newest/bin/crosscity warm-up
	.venv-newest/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile

test-oldest: $(READY)  ## The same with the oldest that it allows.
	$(BIN)/uv venv --quiet --clear --python $(PYTHON) .venv-oldest
	$(BIN)/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[dev]'
	@.venv-oldest/bin/crosscity warm-up
	.venv-oldest/bin/python -m pytest --numprocesses $(WORKERS) --dist loadfile

bandit: $(READY)  ## Known kinds of insecure code.
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive crosscity simcity adapters tasks flows

# By uv in an environment of its own: what it brings along makes each import of Prefect a second longer.
sbom: $(READY)  ## What is installed, as a CycloneDX document: build/sbom.json.
	mkdir -p build
	$(BIN)/uv tool run --quiet --from 'cyclonedx-bom>=7,<8' cyclonedx-py environment --output-format JSON --output-file build/sbom.json $(VENV)

docs: $(READY)  ## The documents as a site, links and anchors checked: build/docs/index.html.
	@$(BIN)/python -c 'import mkdocs_jupyter, mkdocstrings, material' 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --constraint $(LOCK) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

gallery: $(READY)  ## Reports of three simulated cities, and an index: build/gallery/index.html.
	$(BIN)/python benchmarks/gallery.py --output build/gallery

dashboard: $(READY)  ## The dashboard of the runs so far, on http://127.0.0.1:4200.
	@$(BIN)/crosscity dashboard --catalog $(CATALOG)

up: $(READY)  ## Server, database and worker in the background; registers the catalog.
	@$(BIN)/crosscity up --catalog $(CATALOG) --port $(PORT)

down: $(READY)  ## Stop what `make up` started.
	@$(BIN)/crosscity down --catalog $(CATALOG)

server: $(READY)  ## A Prefect server in the foreground (docs/operate.md).
	@$(BIN)/crosscity server --catalog $(CATALOG) --port $(PORT) --host $(LISTEN)

worker: $(READY)  ## A worker in the foreground that runs deployments on this machine.
	@$(BIN)/crosscity worker --catalog $(CATALOG)

deploy: $(READY)  ## Bring the server's deployments to what the catalog has.
	@$(BIN)/crosscity catalog deployments --catalog $(CATALOG)
	@$(BIN)/crosscity deploy --catalog $(CATALOG)

clean:  ## Remove the environment and caches; results in .crosscity stay.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
