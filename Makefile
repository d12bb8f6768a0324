# The two commands of the README, and what CI runs. Needs python3 (3.11 or later),
# make and a package registry; everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

PEERS := .venv-peers
LMMS := .venv-lmms

# A worker a core, which takes tests from another where it has none left.
WORKERS ?= auto
PARALLEL := -n $(WORKERS) --maxprocesses 4 --dist worksteal

.PHONY: demo test drills mutations lint types parity peers smoke evaluate clean

demo: $(VENV)/.installed
	$(BIN)/fastvlm-mlx generate --image docs/pictures/demo.png --stats \
		--prompt "Describe the picture."
	$(BIN)/fastvlm-mlx generate --image docs/pictures/matplotlib.png --quiet \
		--prompt "what color is the star?"
	$(BIN)/fastvlm-mlx generate --image docs/pictures/sign.png --quiet \
		--prompt "What does the sign say?"

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q $(PARALLEL)

drills: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q $(PARALLEL) -m drills

mutations: $(VENV)/.installed-dev
	$(BIN)/python -m tests.mutations

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-parity
	$(BIN)/mypy

parity: $(VENV)/.installed-parity
	$(BIN)/python -m pytest -q $(PARALLEL) -m parity
	$(BIN)/python -m pytest -q $(PARALLEL) tests/nano  # Here with torch, which `make test` has not.

peers: $(PEERS)/.installed $(LMMS)/.installed
	$(PEERS)/bin/python -m pytest -q $(PARALLEL) -m peers tests/peers/test_mlx_vlm.py
	$(LMMS)/bin/python -m pytest -q $(PARALLEL) -m peers tests/peers/test_lmms_*.py

smoke:
	PYTHON=$(PYTHON) .ci/smoke-wheel

evaluate: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.nano.evaluate

clean:
	rm -rf $(VENV) $(PEERS) $(LMMS) .venv-wheel build/wheel

# One stamp per set of packages, so that a second run installs nothing.

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"Python 3.11 or later is needed, this is {sys.version.split()[0]}. Try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.installed: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# mlx-vlm brings transformers and more along, so it has an environment of its own.
$(PEERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --editable . \
		'mlx-vlm==0.7.10' filelock 'pytest>=9' 'pytest-xdist>=3.6' 'hypothesis>=6.100'
	@touch $@

# lmms-eval asks for some eighty packages; these are what our tests of it import.
$(LMMS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(LMMS)
	$(LMMS)/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	$(LMMS)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[evaluate]' 'pytest>=9' 'pytest-xdist>=3.6' 'hypothesis>=6.100' \
		easy-vqa accelerate datasets evaluate 'filelock<4' httpx jsonlines loguru nltk openai \
		pydantic python-dotenv pytablewriter sacrebleu scikit-learn tenacity tiktoken transformers
	$(LMMS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps 'lmms-eval==0.7.3'
	@touch $@

# timm asks for torchvision, which the parity tests do without: it comes alone.
$(VENV)/.installed-parity: pyproject.toml | $(VENV)/.installed-dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[parity]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps 'timm==1.0.31'
	@touch $@
