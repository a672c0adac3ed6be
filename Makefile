# The front door. `make` alone lists the targets.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SHELL  := /bin/bash

# All of MNIST as IDX files, where a checkout has them beside it; tests that need it skip loudly without.
export DIGITS_DATA_DIR ?= $(wildcard ../shared/data/mnist)

.PHONY: help
help:  ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

.PHONY: lock
lock: setup  ## Resolve the dependencies again into requirements/*.txt
	$(PYTHON) -m venv build/uv && build/uv/bin/pip install --quiet uv
	for target in "dev --upgrade --extra server --extra trainer --group dev" \
	              "server-test --constraint requirements/dev.txt --extra server --group test" \
	              "server --constraint requirements/dev.txt --extra server"; do \
	  set -- $$target; name=$$1; shift; \
	  build/uv/bin/uv pip compile pyproject.toml "$$@" --universal --python-version 3.11 \
	    --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --quiet \
	    --output-file requirements/$$name.txt; \
	done

.PHONY: protos
protos: setup  ## Generate the Python beside the .proto files
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. protos/digits/v1/prediction.proto
	$(BIN)/python -m grpc_tools.protoc -I . --grpc_python_out=. protos/digits/v1/prediction.proto
