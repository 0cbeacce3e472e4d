# Each target sets up what it needs in .venv, and is cheap the second time.
PYTHON ?= python3
PIP = .venv/bin/python -m pip --disable-pip-version-check
ENV = .venv/.ready

.PHONY: help demo test test-slow lint wheel bench realweb clean
help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# img2dataset pins webdataset < 0.3; the tests also read with webdataset 1.x, which therefore lies apart.
$(ENV): pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	$(PIP) install --quiet --editable ".[models,dedup,text,img2dataset,dev]"
	$(PIP) install --quiet --no-deps --upgrade --target .venv/webdataset1 "webdataset>=1.0,<2"
	touch $(ENV)

demo: $(ENV)  ## draw a small web, run the four pipelines on a local Ray, show what came out
	.venv/bin/python -m curate.demo demo

test: $(ENV)  ## all tests but the slow ones
	.venv/bin/python -m pytest

test-slow: $(ENV)  ## the slow tests
	.venv/bin/python -m pytest -m slow

lint: $(ENV)  ## ruff and mypy --strict
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

wheel: $(ENV)  ## build the wheel, and run the demo from it
	rm -rf build
	$(PIP) wheel --quiet --no-deps --wheel-dir build/dist .
	$(PIP) install --quiet --no-deps --target build/wheel build/dist/*.whl
	.ci/wheel .venv/bin/python build/wheel

bench: $(ENV)  ## side by side with the peers (needs nginx; see docs/benchmarks.md)
	.venv/bin/python benchmarks/all.py

clean:  ## remove what the demo and the runs left (not .venv)
	rm -rf demo runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache

realweb: $(ENV)  ## a real web corpus, end to end (needs the Debian packages nginx-light and gimp-help-en)
	$(PIP) install --quiet warcio
	.venv/bin/python benchmarks/make_realweb.py --root gimp-en=/usr/share/gimp/2.0/help/en --out realweb --max-pages 600
	realweb/serve.sh
	.venv/bin/curate run benchmarks/realweb.yaml --out runs/realweb; realweb/serve.sh stop
