# The front door. `make` alone lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash

# All of MNIST as IDX files, where a checkout has them beside it; tests that need it skip loudly without.
export DIGITS_DATA_DIR ?= $(abspath $(wildcard ../shared/data/mnist))

.PHONY: help
help:  ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Set-up ---------------------------------------------------------------------------------------

.PHONY: setup
setup: $(VENV)/.ready  ## Make .venv from the hashed lock; quick when nothing changed

# $(call install,VENV,LOCK): an environment with what the lock names, and this project.
define install
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv $(1)
	$(1)/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $(2)
	$(1)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index --editable .
	touch $(1)/.ready
endef

$(VENV)/.ready: requirements/dev.txt pyproject.toml
	$(call install,$(VENV),requirements/dev.txt)

.venv-server/.ready: requirements/server-test.txt pyproject.toml
	$(call install,.venv-server,requirements/server-test.txt)

# What the tests of the web page, the Node.js client, the containers and the manifests run, and what the
# benchmarks use; without it they say loudly that they did not run.
.PHONY: packages
packages:  ## Install the Debian packages that some tests and benchmarks use (as root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	  buildah catatonit chromium chromium-driver debootstrap nghttp2-client podman runc >/dev/null
	# Its programs alone: the package starts a Prometheus of its own, on the port of our metrics.
	command -v promtool >/dev/null || { mkdir -p build/prometheus && cd build/prometheus && \
	  apt-get download -qq -o APT::Sandbox::User=root prometheus && dpkg-deb --fsys-tarfile prometheus_*.deb | \
	  tar --extract --directory /usr/local/bin --strip-components 3 ./usr/bin; }

.PHONY: lock
lock: setup  ## Resolve the dependencies again into requirements/*.txt
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv
	for target in "dev pyproject.toml --extra server --extra trainer --group dev" \
	              "server-test pyproject.toml --constraint requirements/dev.txt --extra server --group test" \
	              "server pyproject.toml --constraint requirements/dev.txt --extra server" \
	              "server-gpu pyproject.toml --constraint requirements/dev.txt --extra server-gpu --group gpu-libraries" \
	              "client pyproject.toml --constraint requirements/dev.txt --extra plot" \
	              "trainer pyproject.toml --constraint requirements/dev.txt --extra trainer" \
	              "policy --group policy"; do \
	  set -- $$target; name=$$1; shift; \
	  build/uv/bin/uv pip compile "$$@" --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet \
	    --output-file requirements/$$name.txt; \
	done

.PHONY: protos
protos: setup  ## Generate the Python beside the .proto files
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. \
	  protos/digits/v1/prediction.proto protos/inference.proto
	$(BIN)/python -m grpc_tools.protoc -I . --grpc_python_out=. protos/digits/v1/prediction.proto
	# Every library that speaks this protocol has messages of these names: a pool of our own lets one process
	# use two of them.
	sed -i.old 's/_descriptor_pool.Default()/_descriptor_pool.DescriptorPool()/' protos/inference_pb2.py
	rm protos/inference_pb2.py.old

# --- The main jobs --------------------------------------------------------------------------------

.PHONY: demo
demo: setup  ## Train, export, publish, serve and predict on real digits, end to end
	$(BIN)/python deploy/demo.py

# DATA is `sample`, or a folder of IDX files; RECIPE a shipped recipe's name, or a TOML file.
RECIPE     ?= digits
DATA       ?= $(or $(DIGITS_DATA_DIR),sample)
REPOSITORY ?= repository

.PHONY: train
train: setup  ## Train RECIPE on DATA and publish it into REPOSITORY
	$(BIN)/digit-trainer train --recipe $(RECIPE) --data $(DATA) --repository $(REPOSITORY)

# RUN is the directory of a finished run.
.PHONY: report
report: setup  ## Measure the model of RUN again and rebuild its report
	$(BIN)/digit-trainer report $(or $(RUN),$(error RUN is not set: name the directory of a finished run))

.PHONY: serve
serve: setup  ## Serve REPOSITORY, or the shipped model where there is none
	$(BIN)/digit-server $(if $(wildcard $(REPOSITORY)),--model-repository $(REPOSITORY))

# FILES are pictures of digits.
.PHONY: predict
predict: setup  ## Ask the server on this machine what the digits in FILES are
	$(BIN)/digit-client predict $(FILES)

.PHONY: web
web: setup  ## Serve a page to draw digits on, for the server on this machine
	$(BIN)/digit-client web

.PHONY: load
load: setup  ## Put load on the server on this machine for ten seconds
	$(BIN)/digit-client load

# --- Proof ----------------------------------------------------------------------------------------

.PHONY: test
test: setup  ## Run all the tests
	$(BIN)/python -m pytest

.PHONY: e2e
e2e: setup  ## Run only the end-to-end tests
	$(BIN)/python -m pytest tests/e2e

.PHONY: test-server-only
test-server-only: .venv-server/.ready  ## Prove that server and clients need nothing of the trainer
	! .venv-server/bin/python -c 'import tensorflow' 2>/dev/null
	.venv-server/bin/python -m pytest tests/unit/server tests/integration/server tests/unit/clients tests/integration/clients

.PHONY: lint
lint: setup  ## Check style, types, and our code for known weaknesses
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml server trainer clients

# The exceptions of bandit are in pyproject.toml and beside the lines, each with its reason.
LOCKS ?= $(filter-out %/policy.txt,$(wildcard requirements/*.txt))
.PHONY: audit
audit: setup  ## Look for known weaknesses in all that the locks name
	@for lock in $(LOCKS); do \
	  $(BIN)/pip-audit --strict --disable-pip --progress-spinner off --requirement $$lock || \
	  { echo "NOT CLEAN, OR NOT AUDITED: $$lock. pip-audit asks a public database about each package; where that" \
	         "does not answer for all of them, run 'make audit' on a machine that reaches it." >&2; exit 1; }; \
	done

.PHONY: check
check: lint test test-server-only  ## Everything that must pass before a change lands

# FUZZ_INPUTS and FUZZ_SEED say how many inputs, and which.
.PHONY: fuzz
fuzz: setup  ## Send a server 100,000 inputs that are nearly right
	$(BIN)/python -m tests.fuzz.run

# SOAK_MINUTES, SOAK_LOAD, KILL_SECONDS and SOAK_PENDING_CALLS: how long, at what share of the capacity, how often a worker
# is killed, and how many calls may be pending in overload.
.PHONY: soak
soak: setup  ## Load for half an hour while workers are killed, then overload
	$(BIN)/python -m tests.soak.run

.PHONY: bench
bench: setup  ## Measure the server against raw ONNX Runtime
	$(BIN)/python -m tests.bench.run

.PHONY: bench-swaps
bench-swaps: setup  ## Measure what callers notice of fifty new versions in a row
	$(BIN)/python -m tests.bench.swaps

.PHONY: bench-observing
bench-observing: setup  ## Measure what metrics, logs and history cost a call
	$(BIN)/python -m tests.bench.observing

.PHONY: bench-export
bench-export: setup  ## Measure the lean and the 8-bit graphs against what tf2onnx makes by itself
	$(BIN)/python -m tests.bench.export

.PHONY: bench-curve
bench-curve: setup  ## Measure latency against load, for sizing
	$(BIN)/python -m tests.bench.curve

build/peers/%/.ready: tests/bench/peers/%/requirements.txt
	$(PYTHON) -m venv build/peers/$*
	build/peers/$*/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.PHONY: bench-peers
bench-peers: setup $(patsubst %,build/peers/%/.ready,kserve litserve mlserver)  ## Measure the server against other model servers
	$(BIN)/python -m tests.bench.peers.run

# --- Deployment -----------------------------------------------------------------------------------

# The base image; its Python is that of .venv.
export BASE ?= python:$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')-slim-bookworm

.PHONY: image
image: setup  ## Build the container images with docker, podman or buildah
	deploy/containers/build server client trainer

.PHONY: image-test
image-test: setup  ## Build the images and run them as Kubernetes would
	deploy/containers/test

.venv-policy/.ready: requirements/policy.txt
	$(PYTHON) -m venv .venv-policy
	.venv-policy/bin/pip install --quiet --disable-pip-version-check --require-hashes --requirement $<
	touch $@

.PHONY: monitoring
monitoring:  ## Make the PrometheusRules of Kubernetes from the rules in deploy/monitoring, and check them
	for rules in recording alerts; do \
	  { printf '%s\n' '# Made from deploy/monitoring/'$$rules'.yaml by `make monitoring`.' \
	      'apiVersion: monitoring.coreos.com/v1' 'kind: PrometheusRule' 'metadata:' "  name: digits-$$rules" 'spec:'; \
	    sed 's/^./  &/' deploy/monitoring/$$rules.yaml; } >deploy/components/monitoring/prometheusrule-$$rules.yaml; \
	done
	promtool check rules deploy/monitoring/{recording,alerts}.yaml
	promtool test rules deploy/monitoring/*_test.yaml

.PHONY: manifests
manifests: setup .venv-policy/.ready  ## Build every Kubernetes manifest and check it
	$(BIN)/python -m pytest tests/unit/deploy
	deploy/lint

.PHONY: clean
clean:  ## Remove what the other targets made
	rm -rf .venv .venv-server .venv-policy build dist repository runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
