# make run    simulate a small campaign, run the four notebooks, print score table, submission and report
# make test   all tests but three that take minutes (make bench-long)
# make dev    .venv, and the git hook that runs `make lint` on what is committed
# make lint   style and types; make clean removes results
# make figures  `make run`, then the pictures and executed examples of README and docs
# make docs   the site, strictly, which opens from disk; make docs-serve shows it in a browser while it is written
# make bench  bench-score, -speed, -scale, -train, -twin; by name only: -worlds, -trained, -versus, -frames, -otherwise, -whole, -spectra,
#             -sky, -inject, -ablation, -dvc, -coverage, -long
# Everything needs python3 alone: the first target that is asked for builds .venv from requirements-dev.txt, each package
# but torch checked against its hash in requirements-dev.lock (make lock writes it anew).
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: run test dev lint docs docs-serve figures notebooks lock sbom clean bench bench-score bench-speed bench-scale bench-train \
  bench-inject bench-sky bench-worlds bench-trained bench-versus bench-frames bench-otherwise bench-whole bench-spectra \
  bench-ablation bench-twin bench-dvc bench-coverage bench-long

PYTHON ?= python3
PIP_ARGS ?=
OVERRIDES ?= data=sim_tiny
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# the environment's own kernel, never one that a user has registered under the same name
export JUPYTER_PREFER_ENV_PATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# a variable, not words of a recipe: in one `mu>0` would write a file named 0
export OVERRIDES

run: $(STAMP)
	@$(BIN)/python notebooks/run.py

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder

# a folder without git (an unpacked archive) has no hooks
dev: $(STAMP)
	if git rev-parse --git-dir >/dev/null 2>&1; then $(BIN)/pre-commit install; fi

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --exclude '*.ipynb' .
	$(BIN)/mypy

# the theme's word on its own future is for those who choose one
export NO_MKDOCS_2_WARNING := 1
docs: $(STAMP)
	@$(BIN)/mkdocs build --strict --quiet
	@echo "the site: $(CURDIR)/build/site/index.html"

docs-serve: $(STAMP)
	$(BIN)/mkdocs serve --dev-addr localhost:8000

# all that README and docs show of the kit, made anew: pictures, and executed examples of the run that goes before
figures: run
	OMP_NUM_THREADS=1 $(BIN)/python bench/figures.py
	$(BIN)/python notebooks/examples.py

notebooks: $(STAMP)
	$(BIN)/python notebooks/build.py

bench: bench-score bench-speed bench-scale bench-train bench-twin

bench-score: $(STAMP)
	$(BIN)/python bench/score.py

# the published package lives in an environment of its own: it needs pandas < 3 and tensorflow, 600 MB
PEER := artifacts/peer
bench-speed: $(STAMP)
	test -x $(PEER)/bin/python || $(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet $(PIP_ARGS) -r bench/peer-requirements.txt
	$(BIN)/python bench/calibrate_speed.py --peer $(PEER)/bin/python

# tests that take minutes: a run killed at random moments, the same bytes from two processes
bench-long: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long

# the package is no part of the environment: it lies in a folder of its own
COVERAGE := artifacts/coverage
bench-coverage: $(STAMP)
	test -d $(COVERAGE)/coverage || $(BIN)/python -m pip install --quiet $(PIP_ARGS) --target $(COVERAGE) coverage==7.17.5
	PYTHONPATH=$(COVERAGE) $(BIN)/python bench/covered.py

bench-scale: $(STAMP)
	$(BIN)/python bench/scale.py

bench-worlds: $(STAMP)
	$(BIN)/python bench/worlds.py

bench-versus: $(STAMP)
	$(BIN)/python bench/versus.py

bench-spectra: $(STAMP)
	$(BIN)/python bench/spectra.py
	$(BIN)/python bench/priors.py

bench-trained: $(STAMP)
	$(BIN)/python bench/trained.py

bench-frames: $(STAMP)
	$(BIN)/python bench/frames.py

bench-otherwise: $(STAMP)
	$(BIN)/python bench/otherwise.py

bench-whole: $(STAMP)
	$(BIN)/python bench/whole.py

bench-sky: $(STAMP)
	$(BIN)/python bench/sky.py

bench-inject: $(STAMP)
	$(BIN)/python bench/inject.py

bench-ablation: $(STAMP)
	$(BIN)/python bench/ablation.py

bench-train: $(STAMP)
	$(BIN)/python bench/train_speed.py

# the whole kernel in every mount layout, then on frames of the real size, for the projection to 1,100 planets
bench-twin: $(STAMP)
	$(BIN)/python build_kernel.py twin --layout all
	$(BIN)/python build_kernel.py twin --size full

# dvc comes with 90 packages: it has an environment of its own
DVC := artifacts/dvc
bench-dvc: $(STAMP)
	test -x $(DVC)/bin/python || $(PYTHON) -m venv $(DVC)
	$(DVC)/bin/python -m pip install --quiet $(PIP_ARGS) -r bench/dvc-requirements.txt
	$(BIN)/python bench/dvc_repro.py --dvc $(DVC)/bin/dvc

# hashes of all files of every pinned package but torch, for all platforms: torch's builds (CPU, CUDA, other Pythons) come
# from several places, so it is held to its version alone
UV := artifacts/uv
lock: $(STAMP)
	test -x $(UV)/bin/uv || $(PYTHON) -m venv $(UV)
	$(UV)/bin/python -m pip install --quiet $(PIP_ARGS) uv==0.13.9
	$(UV)/bin/uv pip compile --quiet --generate-hashes --no-deps --universal --python-version 3.11.5 --no-annotate \
	  --no-emit-package torch --custom-compile-command "make lock" -o requirements-dev.lock requirements-dev.txt

# bill of materials of the pinned packages (CycloneDX 1.6), by the CycloneDX project's own tool
SBOM := artifacts/sbom
sbom: $(STAMP)
	test -x $(SBOM)/bin/python || $(PYTHON) -m venv $(SBOM)
	$(SBOM)/bin/python -m pip install --quiet $(PIP_ARGS) -r bench/sbom-requirements.txt
	cat requirements-dev.lock <(grep '^torch==' requirements-dev.txt) | $(SBOM)/bin/cyclonedx-py requirements \
	  --pyproject pyproject.toml --output-reproducible --of JSON -o artifacts/sbom.json -

# results only: .venv stays
clean:
	rm -rf artifacts build outputs multirun .pytest_cache .hypothesis .ruff_cache .mypy_cache *.egg-info
	find kitlib tests notebooks bench -name __pycache__ -type d -prune -exec rm -rf {} +

# what pip does, a line a package, on a terminal and in a log
SHOW := while read -r what package rest; do case "$$what" in Collecting|Processing) echo "  $${package\#\#*/}" ;; esac; done

# step 3 adds torch, and what other platforms need besides
$(STAMP): requirements-dev.txt requirements-dev.lock pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"{sys.executable} is Python {sys.version.split()[0]}; make needs 3.11 or newer: make PYTHON=python3.12")'
	@echo "Installing into $(VENV), once: some minutes, most of them for torch (hundreds of MB)."
	@echo "1 of 4: the environment"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "2 of 4: packages of requirements-dev.lock, each held to its hash"
	@$(BIN)/python -m pip install --progress-bar off $(PIP_ARGS) --require-hashes --no-deps -r requirements-dev.lock | $(SHOW)
	@echo "3 of 4: torch"
	@$(BIN)/python -m pip install --progress-bar off $(PIP_ARGS) -r requirements-dev.txt | $(SHOW)
	@echo "4 of 4: this kit"
	@$(BIN)/python -m pip install --quiet $(PIP_ARGS) --no-deps --no-build-isolation -e .
	@$(BIN)/python -m ipykernel install --sys-prefix --name python3 --display-name "Python 3" >/dev/null
	@touch $@
	@echo "Installed. For commands of your own: . $(BIN)/activate, then spectramind --help"
