# Everything a newcomer needs. Each target sets up what it uses; `make` alone lists them.
#   TORCH_INDEX=URL  take torch from this package index (a CPU-only build is a tenth of the size of the default)
#   PYTHON=python3.12  the interpreter .venv is made with
#   GPU=1              make nano: train on one GPU what configs/gpu has a configuration for
#   EXTRAS=            what is installed beside the server itself; empty: nothing
#   CHROMIUM=path      the browser of the page's tests
#   ARGS="..."         more options for demo, serve and the tests: make test ARGS="-k delay"

PYTHON ?= python3
EXTRAS ?= [dev]
VENV ?= .venv
BIN := $(VENV)/bin
comma := ,
STAMP := $(VENV)/.installed-$(subst $(comma),-,$(patsubst [%],%,$(EXTRAS)))
PYTEST := $(BIN)/pytest
CHROMIUM ?= chromium
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-speech test-browser test-browser-long test-slow check lint types contracts nano wheel clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "Omni Duplex needs Python 3.11 or newer as $(PYTHON). On Debian or Ubuntu: apt install python3 python3-venv"; \
		  echo "With another interpreter: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) can't make virtual environments here. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@if [ -n "$(TORCH_INDEX)" ]; then \
		echo "torch from $(TORCH_INDEX)"; \
		$(BIN)/python -m pip install --quiet --index-url "$(TORCH_INDEX)" -c constraints.txt torch; \
	fi
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.$(EXTRAS)'
	@touch $@

demo: $(STAMP) ## ask nano the bundled spoken questions and show its answers
	@$(BIN)/omni demo $(ARGS)

serve: $(STAMP) ## serve nano: a page at http://127.0.0.1:8000/, and ws://127.0.0.1:8000/v1/realtime
	@$(BIN)/omni serve $(ARGS)

test: $(STAMP) ## the tests that need nothing but Python
	$(PYTEST) $(ARGS)

test-speech: $(STAMP) ## the tests that need espeak-ng and flite
	@for tool in espeak-ng flite; do command -v $$tool >/dev/null || \
		{ echo "$$tool is missing. On Debian or Ubuntu: apt install espeak-ng flite"; exit 1; }; done
	$(PYTEST) -m "speech and not slow" $(ARGS)

test-browser: $(STAMP) ## the page's tests, in Chromium; they need espeak-ng and flite too
	@for tool in $(CHROMIUM) espeak-ng flite; do command -v $$tool >/dev/null || \
		{ echo "$$tool is missing. On Debian or Ubuntu: apt install chromium espeak-ng flite; or CHROMIUM=path"; exit 1; }; done
	CHROMIUM="$(CHROMIUM)" $(PYTEST) -m "browser and not slow" tests/browser $(ARGS)

test-browser-long: $(STAMP) ## the same again and again, and ten minutes of conversation
	CHROMIUM="$(CHROMIUM)" $(PYTEST) -m "browser and slow" -s tests/browser $(ARGS)

test-slow: $(STAMP) ## the tests that take minutes
	$(PYTEST) -m "slow and not browser" $(ARGS)

lint: $(STAMP) ## ruff
	$(BIN)/ruff check .

types: $(STAMP) ## pyright
	$(BIN)/pyright

contracts: $(STAMP) ## who may import whom
	$(BIN)/lint-imports --no-cache

check: lint types contracts test ## what CI runs, less the tests of speech and of the page

CONFIGS := omni_core/training/configs
nano: $(STAMP) ## train nano from nothing (hours on 2 cores); into runs/nano, see docs/training.md. GPU=1: as configs/gpu says where it says something
	$(BIN)/omni data all
	@set -e; for run in "codec codec" "codec codec_listening" "encoders encoders" "encoders vision" "lm lm" "stage1 stage1" "stage2 stage2" "stage3 stage3"; do \
		set -- $$run; config=$(CONFIGS)/$$2.yaml; \
		if [ -n "$(GPU)" ] && [ -e $(CONFIGS)/gpu/$$2.yaml ]; then config=$(CONFIGS)/gpu/$$2.yaml; fi; \
		echo "omni train $$1 --config $$config --resume"; $(BIN)/omni train $$1 --config $$config --resume; \
	done
	$(BIN)/omni train ending --config $(CONFIGS)/ending.yaml

wheel: $(STAMP) ## build dist/*.whl
	$(BIN)/python -m build --wheel

clean: ## remove .venv and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis demo
