# `make` lists the targets for people; those that only CI and documents call have no line there.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash
PIP    := python -m pip --quiet --disable-pip-version-check
# Python compiles modules when it first imports them, and keeps the result; pip would compile all.
unexport PYTHONDONTWRITEBYTECODE

# All of MNIST as IDX files, if they lie beside the checkout; without it, tests that need it are skipped and listed.
export DIGITS_DATA_DIR ?= $(abspath $(wildcard ../shared/data/mnist))

.PHONY: help
help:
	@awk -F':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use
.PHONY: setup
setup: $(VENV)/.ready  ## Create .venv from the hashed lock, if it changed

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) install --no-compile --require-hashes --requirement requirements/dev.txt
	$(BIN)/$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	touch $@

.PHONY: demo
demo: setup  ## Train, publish, serve and predict real digits; results stay in demo/
	$(BIN)/python deploy/demo.py

# DATA is `sample`, or a folder of IDX files; RECIPE a shipped recipe's name, or a TOML file.
RECIPE     ?= digits
DATA       ?= $(or $(DIGITS_DATA_DIR),sample)
REPOSITORY ?= repository

.PHONY: train
train: setup  ## Train RECIPE on DATA and publish the model into REPOSITORY
	$(BIN)/digit-trainer train --recipe $(RECIPE) --data $(DATA) --repository $(REPOSITORY)

.PHONY: serve
serve: setup  ## Serve REPOSITORY, or the shipped models if there is none
	$(BIN)/digit-server $(if $(wildcard $(REPOSITORY)),--model-repository $(REPOSITORY))

.PHONY: predict
predict: setup  ## Predict the digits in the picture FILES
	$(BIN)/digit-client predict $(or $(FILES),$(error FILES is not set: name one or more pictures))

.PHONY: web
web: setup  ## Open a page to draw digits on
	$(BIN)/digit-client web

# By file, in the order of their names: the end-to-end tests, of which each takes long, come first.
PYTEST := $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

##@ Develop
.PHONY: test
test: setup  ## Run all but the slow tests, 4 minutes; lists those that this machine cannot run
	$(PYTEST) -m "not slow" --durations 25 $(TESTS)

# A test that fails among others and passes alone is a defect of the test: it is named, and the run continues.
define once-more
$(1) || { [ $$? = 1 ] && echo "FAILED ABOVE, AND RUN ONCE MORE, ALONE:" && \
	$(BIN)/python -m pytest -n 0 --last-failed --last-failed-no-failures none -v; }
endef

.PHONY: test-all
test-all: setup build/uv/.ready  ## Run every test as CI does: a test that cannot run fails
	@export DIGITS_REQUIRE_ALL=1; $(call once-more,$(PYTEST) --durations 25 $(TESTS))

.PHONY: lint
lint: setup  ## Check style, types, import contracts and known weaknesses
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

.PHONY: protos
protos: setup  ## Generate the Python modules from the .proto files
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. \
	  protos/digits/v1/prediction.proto protos/inference.proto
	$(BIN)/python -m grpc_tools.protoc -I . --grpc_python_out=. protos/digits/v1/prediction.proto
	# Other libraries register messages of the same names; a descriptor pool of our own allows both in one process.
	sed -i.old 's/_descriptor_pool.Default()/_descriptor_pool.DescriptorPool()/' protos/inference_pb2.py
	rm protos/inference_pb2.py.old

.PHONY: lock
lock: build/uv/.ready  ## Resolve the dependencies into requirements/
	requirements/lock build/uv/bin/uv

# Not pinned: uv only resolves and installs; the lock files pin what tests use by hash.
build/uv/.ready:
	$(PYTHON) -m venv build/uv
	build/uv/bin/$(PIP) install uv
	touch $@

.PHONY: packages
packages:  ## Install the Debian packages that tests and benchmarks use (as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  buildah catatonit chromium chromium-driver debootstrap libb64-0d nghttp2-client podman runc >/dev/null
	# Only its programs: the package would start a Prometheus on the port of our metrics.
	command -v promtool >/dev/null || { mkdir -p build/prometheus && cd build/prometheus && \
	  apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | \
	  tar --extract --directory /usr/local/bin --strip-components 3 ./usr/bin; }
	command -v kubectl >/dev/null || deploy/install-kubectl /usr/local/bin/kubectl
	command -v perf_analyzer >/dev/null || { deploy/install-perf-analyzer /usr/local/lib/perf_analyzer && \
	  ln -sf ../lib/perf_analyzer/perf_analyzer /usr/local/bin; }

.PHONY: clean
clean:  ## Remove everything that the other targets created
	rm -rf .venv .venv-policy build demo dist repository runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Prove
.PHONY: bench
bench: setup  ## Measure the server against raw ONNX Runtime; tests/bench/README.md lists more
	$(BIN)/python -m tests.bench.run

build/peers/%/.ready: tests/bench/peers/%/requirements.txt
	$(PYTHON) -m venv build/peers/$*
	build/peers/$*/bin/$(PIP) install --requirement $<
	touch $@

# Triton comes from PyTriton's wheel, which not every machine can install.
.PHONY: bench-peers
bench-peers: setup $(patsubst %,build/peers/%/.ready,kserve litserve mlserver)  ## Measure the server against other model servers
	$(MAKE) --no-print-directory build/peers/triton/.ready || rm -rf build/peers/triton
	$(BIN)/python -m tests.bench.peers.run

# SOAK_MINUTES, SOAK_LOAD, KILL_SECONDS and SOAK_PENDING_CALLS: see tests/soak/run.py.
.PHONY: soak
soak: setup  ## Load the server for half an hour while workers are killed, then overload it
	$(BIN)/python -m tests.soak.run

# FUZZ_INPUTS and FUZZ_SEED: see tests/fuzz/run.py.
.PHONY: fuzz
fuzz: setup
	$(BIN)/python -m tests.fuzz.run

# The lock has a recent grpcio; this is the oldest that pyproject.toml allows. The tests are those of what gRPC does.
GRPC_OLDEST := $(shell sed -n 's/.*"grpcio>=\([0-9.]*\),.*/\1/p' pyproject.toml)
WIRE := {cancellation,faults_connections,faults_processes,hostile_frames,hostile_messages,known_traffic,$\
lifecycle,open_inference,reflection,serving,tls,tokens,triton}
.PHONY: test-grpc
test-grpc: setup build/grpc-$(GRPC_OLDEST)/.ready
	@export PYTHONPATH=build/grpc-$(GRPC_OLDEST); \
	$(call once-more,$(PYTEST) tests/unit/server/rpc tests/integration/server/test_$(WIRE).py)

build/grpc-$(GRPC_OLDEST)/.ready: | $(VENV)/.ready
	$(BIN)/$(PIP) install --no-deps --target $(@D) \
	  grpcio==$(GRPC_OLDEST) grpcio-health-checking==$(GRPC_OLDEST) grpcio-reflection==$(GRPC_OLDEST)
	touch $@

LOCKS ?= $(filter-out %/policy.txt,$(wildcard requirements/*.txt))
.PHONY: audit
audit: setup
	@for lock in $(LOCKS); do \
	  $(BIN)/pip-audit --strict --disable-pip --progress-spinner off --requirement $$lock || \
	  { echo "NOT CLEAN, OR NOT AUDITED: $$lock. pip-audit asks a public database about each package; if that does" \
	         "not answer for all of them, run 'make audit' on a machine that reaches it." >&2; exit 1; }; \
	done

##@ Deploy
# The base image; its Python is that of .venv.
export BASE ?= python:$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-slim-bookworm

.PHONY: image
image: setup  ## Build the container images with docker, podman or buildah
	deploy/containers/build server client trainer

.PHONY: image-test
image-test: setup
	deploy/containers/test

.PHONY: manifests
manifests: .venv-policy/.ready  ## Build the Kubernetes manifests into build/manifests and check their security
	deploy/lint

.venv-policy/.ready: requirements/policy.txt
	$(PYTHON) -m venv .venv-policy
	.venv-policy/bin/$(PIP) install --require-hashes --requirement $<
	touch $@
