# The front door. A new machine needs Swift and make; what else is missing is installed first.
#   make demo      watch qwarden end a storm, on a simulated qmail
#   make test      every test
#   make evaluate  what detection is worth: every scenario of the corpus, a table and totals (TRACES=dir: recorded ones)
#   make fuzz      a million mutated inputs to each parser, or SECONDS=60 each
#   make crash     the program killed, and the power lost, at every call that changes something
#   make model     the quarantine's protocol against qmail-send, every interleaving, by spin
#   make soak      the daemon through thirty days of mail, storms, restarts and faults, with the idle time left out (DAYS=; REAL=1: as it comes, HOURS=1)
#   make sanitize  suites with threads under the thread sanitizer, readers of foreign bytes under the address sanitizer (SANITIZERS=thread: one of them)
#   make build     the release binary, with Swift's libraries inside
#   make man       manual pages and shell completions, in .build/manual
#   make install   binary, manual, completions, unit, catalog, policy (DESTDIR=, PREFIX=/usr)
#   make bench     qwarden beside the tools that administrators use (SIZES=1000,10000,100000 QMAIL=/var/qmail WITH=results.json: drawn too)
#   make bench-check   the same at 100,000 messages, against the thresholds in Benchmarks/thresholds.json
.POSIX:
.SUFFIXES:
.PHONY: demo test evaluate model fuzz bench bench-check build man install uninstall format lint clean packages

SWIFT ?= swift
DESTDIR ?=
PREFIX ?= /usr
SYSCONFDIR ?= /etc
STATIC = .build/release-static
BINARY = $(STATIC)/release/qwarden
MANUAL = .build/manual
PAGES = $(MANUAL)/qwarden.1 $(MANUAL)/qwarden-policy.5 $(MANUAL)/qwarden-run.8
COMPLETIONS = $(MANUAL)/completion.bash $(MANUAL)/completion.zsh $(MANUAL)/completion.fish
SHARE = $(DESTDIR)$(PREFIX)/share
UNITS = qwarden.service qwarden-badmailfrom.socket qwarden-badmailfrom@.service
DEBIAN_PACKAGES = libsystemd-dev libsqlite3-dev zlib1g-dev pkg-config
SOURCES = Sources Tests Package.swift Fuzz/Package.swift Fuzz/Sources/fuzz Benchmarks/Sources Benchmarks/Package.swift
SIZES = 1000,10000,100000
QMAIL = /var/qmail
WITH =
BENCH = Benchmarks/.build/release/bench --qwarden $(CURDIR)/$(BINARY) --qmail $(QMAIL)

demo: packages
	$(SWIFT) run qwarden demo

# What waits for a clock runs one by one: beside others it would be starved of the few threads it wakes up on, and the simulated qmail with it. The
# faults last for seconds each and mostly wait, so these run beside each other.
IN_REAL_TIME = ^(WatchdogTests|SystemdTests|RealQmailTests|SoakTests)\.
FAULTS = FaultTests
test: packages
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build --skip '$(IN_REAL_TIME)'
	$(SWIFT) test --skip-build --no-parallel --filter '$(IN_REAL_TIME)' --skip '$(FAULTS)'
	$(SWIFT) test --skip-build --filter '$(FAULTS)'

evaluate: packages
	$(SWIFT) run -c release evaluate $(TRACES)

# DEEP=1 also kills both programs in one run.
model:
	@$(MAKE) packages DEBIAN_PACKAGES=spin
	@Model/check

# RUNS=, PARSERS='json mime' narrow it; see Fuzz/run.
fuzz: packages
	@SWIFT='$(SWIFT)' SECONDS_EACH='$(SECONDS)' Fuzz/run

# Each needs a build of its own. The shims that LD_PRELOAD puts before libc do not go with a sanitizer's own, and what waits for a clock says nothing there.
SANITIZERS = thread address
THREADED = ^(SelectionTests|LedgerTests|QmailQueueTests|FilesTests|SystemdTests|StormsTests)\.|ListingTests|ExportTests|RemovalTests|LotTests
READING = ^(MailTests|FilesTests|QmailControlTests|QmailQueueTests|SelectionTests|StormsTests|PolicyTests|ReplayTests|HostileTests|SystemdTests)\.
.PHONY: sanitize
sanitize: packages
	@set -e; for kind in $(SANITIZERS); do \
	  case $$kind in thread) suites='$(THREADED)' more= ;; *) suites='$(READING)' more=--disable-xctest ;; esac; \
	  $(SWIFT) build --build-tests --sanitize=$$kind --scratch-path .build/$$kind; \
	  TSAN_OPTIONS='suppressions=$(CURDIR)/Tests/Sanitizers/thread.txt' \
	    LSAN_OPTIONS='suppressions=$(CURDIR)/Tests/Sanitizers/leak.txt' $(SWIFT) test --skip-build $$more --sanitize=$$kind \
	    --scratch-path .build/$$kind --filter "$$suites" --skip BootTests; \
	done

DAYS = 30
HOURS = 1
REAL =
.PHONY: soak
soak: packages
	$(SWIFT) build -c release --product qwarden
	$(SWIFT) build -c release --product soak
	@if test -n '$(REAL)'; then set -- --real '$(HOURS)'; else set -- --days '$(DAYS)'; fi; .build/release/soak "$$@"

build: packages
	$(SWIFT) build -c release --static-swift-stdlib --product qwarden -Xlinker -s --scratch-path $(STATIC)
	$(MAKE) man

# Not rebuilt here, so that `sudo make install` needs no Swift: run `make build` first, as yourself.
$(BINARY):
	$(MAKE) build

.PHONY: bench bench-check
bench: build
	$(SWIFT) build -c release --package-path Benchmarks
	$(BENCH) --sizes $(SIZES) --json Benchmarks/.build/results.json --plot docs/growth.svg $(WITH:%=--with %)

bench-check: build
	$(SWIFT) build -c release --package-path Benchmarks
	$(BENCH) --sizes 100000 --check Benchmarks/thresholds.json

# The program itself knows its manual, its policy and its options.
man: $(PAGES) $(COMPLETIONS)

$(MANUAL)/qwarden.1 $(MANUAL)/qwarden-policy.5 $(MANUAL)/qwarden-run.8: $(BINARY)
	@mkdir -p $(MANUAL)
	page=$@; $(BINARY) manual $${page##*.} > $@.new && mv $@.new $@

$(MANUAL)/completion.bash $(MANUAL)/completion.zsh $(MANUAL)/completion.fish: $(BINARY)
	@mkdir -p $(MANUAL)
	shell=$@; $(BINARY) --generate-completion-script $${shell##*.} > $@.new && mv $@.new $@

install: $(BINARY) $(PAGES) $(COMPLETIONS)
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/qwarden
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in $(UNITS); do \
	  sed 's|/usr/bin/qwarden|$(PREFIX)/bin/qwarden|g' systemd/$$unit > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit && \
	  chmod 0644 $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit || exit 1; \
	done
	install -D -m 0644 systemd/qwarden.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/qwarden.conf
	install -D -m 0644 systemd/qwarden.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/qwarden.conf
	install -D -m 0644 systemd/qwarden.catalog $(DESTDIR)$(PREFIX)/lib/systemd/catalog/qwarden.catalog
	for page in $(PAGES); do \
	  install -D -m 0644 "$$page" "$(SHARE)/man/man$${page##*.}/$${page##*/}" || exit 1; \
	done
	install -D -m 0644 $(MANUAL)/completion.bash $(SHARE)/bash-completion/completions/qwarden
	install -D -m 0644 $(MANUAL)/completion.zsh $(SHARE)/zsh/vendor-completions/_qwarden
	install -D -m 0644 $(MANUAL)/completion.fish $(SHARE)/fish/vendor_completions.d/qwarden.fish
	test -e $(DESTDIR)$(SYSCONFDIR)/qwarden/policy.yaml || \
	  install -D -m 0644 config/policy.yaml $(DESTDIR)$(SYSCONFDIR)/qwarden/policy.yaml
	@test -n "$(DESTDIR)" || test ! -d /run/systemd/system || { \
	  systemd-sysusers qwarden.conf && systemd-tmpfiles --create qwarden.conf && \
	  journalctl --update-catalog && systemctl daemon-reload && \
	  echo 'Installed. Start the watch with: systemctl enable --now qwarden'; }

# The policy, the state directory and the account stay.
uninstall:
	@test -n "$(DESTDIR)" || test ! -d /run/systemd/system || systemctl disable --now qwarden qwarden-badmailfrom.socket || true
	cd $(DESTDIR)$(PREFIX)/lib/systemd/system && rm -f $(UNITS)
	rm -f $(DESTDIR)$(PREFIX)/bin/qwarden \
	  $(DESTDIR)$(PREFIX)/lib/sysusers.d/qwarden.conf \
	  $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/qwarden.conf \
	  $(DESTDIR)$(PREFIX)/lib/systemd/catalog/qwarden.catalog
	rm -f $(SHARE)/man/man1/qwarden.1 $(SHARE)/man/man5/qwarden-policy.5 \
	  $(SHARE)/man/man8/qwarden-run.8 $(SHARE)/bash-completion/completions/qwarden \
	  $(SHARE)/zsh/vendor-completions/_qwarden $(SHARE)/fish/vendor_completions.d/qwarden.fish
	@test -n "$(DESTDIR)" || test ! -d /run/systemd/system || \
	  { journalctl --update-catalog; systemctl daemon-reload; }

# The program killed, and the power lost, before every call that changes something; the suite takes a sample of it.
.PHONY: crash
crash: packages
	QWARDEN_CRASH_SWEEP=1 $(SWIFT) test --filter "CrashTests|PowerTests"

format:
	$(SWIFT) format -i --recursive $(SOURCES)

lint:
	$(SWIFT) format lint --strict --recursive $(SOURCES)

clean:
	rm -rf .build

# Debian and Ubuntu: what is not there is installed. Elsewhere: what pkg-config finds will do.
packages:
	@if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then \
	  missing=; \
	  for package in $(DEBIAN_PACKAGES); do \
	    case "$$(dpkg-query -W -f '$${db:Status-Status} ' $$package 2>/dev/null)" in \
	      installed*) ;; *) missing="$$missing $$package" ;; \
	    esac; \
	  done; \
	  test -n "$$missing" || exit 0; \
	  if test "$$(id -u)" = 0; then become=; \
	  elif command -v sudo >/dev/null; then become=sudo; \
	  else echo "make: needed, and only root can install them:$$missing" >&2; exit 1; fi; \
	  echo "Installing$$missing"; \
	  $$become apt-get update -q && \
	  $$become env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	elif ! pkg-config --exists libsystemd sqlite3 zlib; then \
	  echo 'make: install the development files of libsystemd, sqlite3 and zlib, and pkg-config' >&2; exit 1; \
	fi
