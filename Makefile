# make demo     plan a sample, draw its PCI tree before and after, show the difference
# make test     all tests, on real libvirt and QEMU too
# make lint     style and architecture          make types    mypy --strict
# make bench    speed, as ratios                make clean    forget what was built here
# make man      man pages, completions and docs/cli.md anew, from the commands
# make docs     the site, into build/site       make package  wheel, archive, RPM, Debian package, into dist/
#
# Each target sets up what it needs first (see .ci/setup.sh) and is quick the second time.
# ARGS reaches pytest:  make test ARGS='-k bridge'

.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench man docs package clean

BIN := .venv/bin
SAMPLE := rhel6-q35-ovmf.xml
WORKERS ?= 2
ARGS ?=

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo:
	@sh .ci/setup.sh demo
	$(BIN)/virtfix plan samples/$(SAMPLE)
	$(BIN)/virtfix topology samples/$(SAMPLE) --after
	@rm -rf build/demo && mkdir -p build/demo
	$(BIN)/virtfix apply --output-dir build/demo samples/$(SAMPLE)
	@# diff says 1 for "they differ", which is what is wanted here, and 2 for trouble.
	diff -u samples/$(SAMPLE) build/demo/$(SAMPLE) || test $$? -eq 1

# loadgroup keeps the tests of one xdist_group in one process: libvirt's driver is loaded once.
test:
	@sh .ci/setup.sh test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -rfEs $(ARGS)

lint:
	@sh .ci/setup.sh lint
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports

types:
	@sh .ci/setup.sh lint
	$(BIN)/mypy

bench:
	@sh .ci/setup.sh demo
	$(BIN)/python bench/plan.py
	$(BIN)/python bench/policy.py
	$(BIN)/python bench/apply.py
	$(BIN)/python bench/verify.py

man:
	@sh .ci/setup.sh demo
	$(BIN)/python docs/generate_man.py
	$(BIN)/python docs/generate_completion.py
	$(BIN)/python docs/generate_cli.py

docs:
	@sh .ci/setup.sh docs
	$(BIN)/python -m mkdocs build --strict

package:
	@sh .ci/setup.sh demo
	sh packaging/build.sh

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
