# `make help` lists the targets. Each sets up what it needs, in .venv/.
PYTHON ?= python3
BIN := .venv/bin
TEST_PROCESSES ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo demo-distill demo-deploy test test-all story wheel bench-gpu bench-start lint format clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: .venv/installed ## Train, prune and fine-tune ResNet20 on the digits (under a minute on two cores)
	$(BIN)/dasc fit --config configs/prune_decay.yaml

demo-distill: .venv/installed ## Train a teacher on the digits, and a student whose teacher picks its augmentations
	$(BIN)/dasc fit --config configs/teacher.yaml
	$(BIN)/dasc fit --config configs/distill.yaml

demo-deploy: .venv/installed-export ## Train the demo, export it to ONNX and int8, and run both files on the test images
	$(BIN)/dasc fit --config configs/prune_decay.yaml
	$(BIN)/dasc export --ckpt_path best --format onnx,sparse --int8 --output lightning_logs/demo --overwrite
	$(BIN)/python examples/run_onnx.py lightning_logs/demo/model.onnx lightning_logs/demo/model.int8.onnx

test: .venv/installed-dev ## Run the tests but for the slow ones
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal -m 'not slow'

test-all: .venv/installed-dev ## Run all tests
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist worksteal --durations 20

story: .venv/installed-dev ## Install the wheel beside its requirements only, and fine-tune a classifier of photos (minutes)
	$(BIN)/python tests/stories/photos.py

wheel: .venv/installed-dev ## Build the wheel and the source distribution in dist/
	$(BIN)/python -m build --no-isolation --outdir dist .

bench-start: .venv/installed ## Print the CPU time of commands until they train, beside that of their imports
	$(BIN)/python benchmarks/start.py

bench-gpu: .venv/installed ## Write bench-gpu.md: speed on this machine's GPU beside peers and bounds (under 8 minutes)
	$(BIN)/python benchmarks/gpu.py --output bench-gpu.md

lint: .venv/installed-dev ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the environment and all caches; runs in lightning_logs/ stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache build dist dasc.egg-info

.venv/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dasc needs Python 3.11 or newer, $(PYTHON) is older: run make with PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable .
	@touch $@

.venv/installed-export: .venv/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[export]'
	@touch $@ .venv/installed

.venv/installed-dev: .venv/bin/pip pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ .venv/installed .venv/installed-export
