# Every target makes .venv when it is missing and installs again only when the files that name packages change.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LABEL := .venv-monailabel
OUT ?= demo
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo test lint bench docs rehearse monailabel test-monailabel

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

# what the commands need, without linters, exporters and test tools
$(VENV)/installed-run: setup.cfg constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dicom_seg]"
	touch $@

$(VENV)/installed: $(VENV)/installed-run
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,docs]"
	touch $@

install: $(VENV)/installed-run  ## install what the commands need, into .venv

demo: $(VENV)/installed-run  ## make phantom patients, register, fuse, segment, and write demo/report.html
	$(BIN)/spinefuse demo --out $(OUT)

test: lint  ## check the style and run all tests (those on real images need SPINEFUSE_ASSETS)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile

lint: $(VENV)/installed  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed  ## measure seconds and memory of the main steps on this machine
	$(BIN)/python tests/benchmarks/bench.py

rehearse: $(VENV)/installed  ## pack both bundles, and run the archives in a new environment that has MONAI alone
	SPINEFUSE_REHEARSE=1 $(BIN)/python -m pytest -k fresh_environment tests/verbs/test_release.py tests/system/test_wheel.py

# MONAI Label needs older numpy and pydicom, so it has an environment of its own. Its torchvision must not need CUDA when
# torch has none: the file that registers CUDA operators is emptied where it stops the import.
$(LABEL)/installed: setup.cfg spinefuse_ext/monai_label/requirements.txt
	test -x $(LABEL)/bin/python || $(PYTHON) -m venv $(LABEL)
	$(LABEL)/bin/python -m pip install --quiet torch==2.13.0
	$(LABEL)/bin/python -m pip install --quiet --no-deps torchvision==0.28.0
	$(LABEL)/bin/python -c "import torchvision" 2>/dev/null || cp /dev/null $(LABEL)/lib/python3*/site-packages/torchvision/_meta_registrations.py
	$(LABEL)/bin/python -m pip install --quiet --requirement spinefuse_ext/monai_label/requirements.txt --editable .
	$(LABEL)/bin/python -m pip install --quiet --no-deps monailabel==0.8.5
	touch $@

monailabel: $(LABEL)/installed  ## install MONAI Label and spinefuse into .venv-monailabel, for `spinefuse label-server`

test-monailabel: $(VENV)/installed $(LABEL)/installed  ## run the test that works with a MONAI Label server (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/system/test_monai_label.py

docs: $(VENV)/installed-docs  ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"
