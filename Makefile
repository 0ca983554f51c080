# Rapport's commands. 'make run' and 'make test' set everything up themselves; 'make help' lists the rest.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help run test check format soak bench-loop bench-answers bench-decode bench-streams bench-rollouts bench-token-time clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed  ## Set up, then chat at http://127.0.0.1:7860 (stop with Ctrl-C)
	@$(BIN)/rapport serve

test: check  ## Everything: style, types, import rule, all tests (under 15 minutes on 2 cores)
	$(BIN)/python -m pytest --ignore tests/browser
	$(BIN)/python -m pytest tests/browser

check: $(VENV)/.installed-dev  ## Style, types and the import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

format: $(VENV)/.installed-dev  ## Let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: $(VENV)/.installed-dev  ## Long tests: fifty people chat, versions swap under them, the service is killed while they vote (30 minutes)
	$(BIN)/python -m pytest -m soak --timeout 3600 tests/soak

bench-loop: $(VENV)/.installed-dev  ## 200 votes, one retraining: minutes to the verdict, win rate of the new version
	$(BIN)/python -m benchmarks.loop --labeller asks-back --labeller about-you --labeller agrees --comparisons 200

bench-answers: $(VENV)/.installed-dev  ## The bundled model's answers to fresh prompts, with what can be counted in them
	$(BIN)/python -m benchmarks.answers --model training/bundled/model --openings benchmarks/evaluation/openings.jsonl \
		--conversations benchmarks/evaluation/conversations.jsonl --chinese benchmarks/evaluation/chinese.jsonl --out answers.json

bench-decode: $(VENV)/.installed-dev  ## The bundled model: seconds to the first token, tokens/s beside transformers' generate
	$(BIN)/python -m benchmarks.decode_speed --model bundled=training/bundled/model

bench-streams: $(VENV)/.installed-dev  ## 1, 4, 16 and 64 chats at once: tokens/s and first token, beside transformers' generate
	$(BIN)/python -m benchmarks.streams

bench-rollouts: $(VENV)/.installed-dev  ## Rollouts in batches of 64: tokens/s beside transformers' generate, with log-probabilities and without
	$(BIN)/python -m benchmarks.rollouts

bench-token-time: $(VENV)/.installed-dev  ## Where the time of a token goes, with 1 and with 16 chats
	$(BIN)/python -m benchmarks.token_time

clean:  ## Remove the virtual environment and caches; people's data stay where they are
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Rapport needs Python 3.11 or newer; {sys.executable} is {v[0]}.{v[1]}. Install a newer one, or say which: make run PYTHON=python3.12")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "No virtual environment could be made. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing Rapport into $(VENV): about 1 GB with PyTorch, once."
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
