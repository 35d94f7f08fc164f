# hither: build, run, check. `make help` lists the targets.

GO          ?= go
STATE       ?= .hither
# What `bench trace` replays: files with lines of time,key,size, plain or gzip.
TRACES      ?=
# One package at a time (-p 1): many tests talk over real sockets, and packages that
# compete for two cores make each other's peers late. A slow machine has half an hour for each.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
COMMIT      := $(shell git rev-parse --short=12 HEAD 2>/dev/null)
# All that programs are built from, what is embedded in them as well (bench/make_test.go).
SOURCES     := $(shell find . -type f \( -name '*.go' -o -name '*.yaml' -o -path './origin/gateway/site/*' -o -path './bench/conformance*' \
                 -o -path './bench/peers/*' -o -path './bench/load/*.lua' -o -path './deploy/*.json' -o -path './dns/geo/*.bin' -o -path './dns/geo/*.txt' \)) go.mod go.sum

.DEFAULT_GOAL := help

help: ## this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: bin/hither ## bin/hither

bin/hither: $(SOURCES)
	$(GO) build -trimpath -ldflags '-X main.commit=$(COMMIT)' -o $@ ./deploy/hither

run: bin/hither ## a whole network on this machine, until Ctrl-C (STATE=DIR keeps it elsewhere)
	bin/hither up --state $(STATE)

check: ## gofmt, vet, staticcheck, and all tests with the race detector
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not gofmt-clean:"; echo "$$bad"; exit 1; }
	$(GO) vet -tags e2e ./...
	$(GO) run $(STATICCHECK) -tags e2e ./...
	$(GO) test -timeout 30m -tags nogeo ./dns/geo ./deploy/hither # without the table of countries
	$(GO) test -race -p 1 -timeout 30m ./...

test: bin/hither ## everything that needs Go only
	$(GO) test -p 1 -timeout 30m ./...

e2e: bin/hither bin/bench bin/lab.test ## the real programs against real peers (wget, curl, h2spec, ...)
	$(GO) test -c -tags e2e -o bin/e2e.test ./deploy/e2e
	cd deploy/e2e && ../../bin/e2e.test -test.v -test.timeout 45m

bin/bench: $(SOURCES)
	$(GO) build -trimpath -ldflags '-X main.commit=$(COMMIT)' -o $@ ./bench

bin/lab.test: $(SOURCES)
	$(GO) test -c -tags e2e -o $@ ./bench/lab

bin/peers.test: $(SOURCES)
	$(GO) test -c -tags e2e -o $@ ./bench/peers

# What fails keeps nothing else from being measured: all is run, and what failed is named at the end.
bench: bin/hither bin/bench bin/lab.test bin/peers.test ## what must hold with a clock, by hand and on a quiet machine
	@failed=; trap 'exit 130' INT TERM; \
	run() { echo "$$@"; "$$@" || failed="$$failed; $${name:-$$*}"; }; \
	tests() { echo "cd bench/$$1 && ../../bin/$$1.test"; (cd bench/$$1 && ../../bin/$$1.test -test.timeout 10m) || failed="$$failed; bin/$$1.test"; }; \
	tests peers; \
	tests lab; \
	run bin/bench dns; \
	run bin/bench rtt; \
	run bin/bench far; \
	run bin/bench purge; \
	run bin/bench steer; \
	run bin/bench reports; \
	name="bin/bench dns peers" run bin/bench dns peers --readme bench/README.md; \
	if [ -n "$(strip $(TRACES))" ]; then name="bin/bench trace" run bin/bench trace --readme bench/README.md --svg bench/trace.svg $(TRACES); \
	else echo "bench trace: skipped, as there is no trace; name files with lines of time,key,size: make bench TRACES='a.csv.gz b.csv'"; fi; \
	name="bin/bench peers" run bin/bench peers --readme bench/README.md; \
	[ -z "$$failed" ] || { echo "make bench: failed: $${failed#; }" >&2; exit 1; }

conformance: bin/hither bin/bench ## the public cache suite (SUITE=DIR is a checkout of http-tests/cache-tests; UPDATE=1 keeps the result)
	@[ -n "$(SUITE)" ] || { echo 'make conformance: say where the suite is: SUITE=DIR, a checkout of https://github.com/http-tests/cache-tests with node_modules/undici'; exit 2; }
	bin/bench conformance --suite "$(SUITE)" $(if $(UPDATE),--update)

soak: bin/hither ## what takes minutes, by hand: a million objects in memory and on disk, hundreds of kills, thousands of draws, two hundred nodes, a fleet in chaos
	HITHER_SOAK=1 $(GO) test -count 1 -timeout 30m -run "Soak|TestDamage" -v ./cache/store/disk
	HITHER_SOAK=1 $(GO) test -count 1 -timeout 30m -run "^TestFleet|ManyHear" -v ./deploy/fleet/control
	$(GO) test -count 1 -timeout 30m ./dns/steer ./origin/balance ./edge/compress ./deploy/ops -args -rapid.seed=0 -rapid.checks=2000
	$(GO) test -count 1 -timeout 20m -v -run MemoryPerObject ./cache -args -objects 1000000
	$(GO) test -c -tags e2e -o bin/e2e.test ./deploy/e2e
	cd deploy/e2e && HITHER_SOAK=1 ../../bin/e2e.test -test.v -test.timeout 30m -test.run 'TestFleetChaos$$'

image: ## the container images `hither` and `hither-bench`, for deploy/compose with HITHER_TARGET=prebuilt
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.commit=$(COMMIT)' -o bin/image/ ./deploy/hither ./bench
	docker build --target prebuilt -t hither -f deploy/compose/Dockerfile .
	docker build --target bench-prebuilt -t hither-bench -f deploy/compose/Dockerfile .

clean: ## remove what was built (a network's state stays)
	rm -rf bin

.PHONY: help build run check test e2e bench conformance soak image clean
