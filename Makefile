SHELL := /bin/bash
# Every target runs on a machine with Go alone, unless its line says otherwise.
GO      ?= go
BIN     := bin/gradstream
PKGS    := ./...
REPORT   = $(GO) run ./internal/testutil/testreport
TOOLS    = $(GO) tool -modfile=internal/lint/tools.mod

.PHONY: help build test race lint fmt demo bench quality faults soak fuzz docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A profile of the throughput benchmark, for the compiler: go run ./bench/throughput -rounds 0 -events 8000000 -profile DIR
PGO     := bench/throughput/gradstream.pgo

build: ## build bin/gradstream
	CGO_ENABLED=0 $(GO) build -trimpath -pgo=$(PGO) -o $(BIN) ./cmd/gradstream

test: ## run the tests; with java and mvn present also against a real Apache Kafka
	@$(GO) vet $(PKGS)
	@set -o pipefail; $(GO) test -timeout 20m -json $(PKGS) | $(REPORT)

# Operators have no goroutines (internal/lint sees to it): what runs them, engine and commands, does so under the detector.
race: ## run the fast tests under the race detector (needs a C compiler)
	@set -o pipefail; $(GO) test -race -short -timeout 20m -json $$($(GO) list $(PKGS) | grep -v /operators) | $(REPORT)

lint: ## check formatting, vet, staticcheck, and that the generated docs are current
	@test -z "$$(gofmt -l bench cmd connectors examples internal operators pipeline state)" || { gofmt -l bench cmd connectors examples internal operators pipeline state; echo "run make fmt"; exit 1; }
	$(GO) vet $(PKGS)
	$(TOOLS) staticcheck $(PKGS)
	@rm -rf .docs-check && $(GO) run ./cmd/gradstream docs .docs-check && diff -r docs/reference .docs-check && rm -rf .docs-check || { rm -rf .docs-check; echo "docs/reference is stale: run make docs"; exit 1; }

fmt: ## format the code
	gofmt -w bench cmd connectors examples internal operators pipeline state

demo: build ## learn from a real stream on the embedded broker, nothing installed
	@$(BIN) demo

BENCH ?= -events 4000000 -rounds 5 -latency -recovery -peers all
bench: ## measure beside a bare pass-through and other engines on a real Kafka (needs java and mvn, python3.11 for two peers; quiet machine, 25 minutes; BENCH="-quick -peers gohand" for a look)
	$(GO) run ./bench/throughput $(BENCH) -json bench/results/throughput.json
	$(GO) -C bench/plot run . ../results/throughput.json ../results/throughput.png

QUALITY ?= -data ../shared/data
quality: ## measure predictions beside other learners over the streams in a folder (needs it; python3.11 and, for MOA, java and mvn for the others, which are left out without; 30 minutes at first, then what is kept is used; QUALITY="-data DIR -quick" for a look)
	$(GO) run ./bench/quality $(QUALITY) -json bench/results/quality.json
	$(GO) -C bench/plot run . -quality ../results/quality.json ../results/quality

faults: ## break a real Kafka and real workers in every way known, and check what is lost (needs java and mvn; 25 minutes)
	$(GO) run ./bench/faults

soak: ## let a worker make more transactions than a producer id has epochs (needs java and mvn; 15 minutes)
	$(GO) run ./bench/faults -only F30.soak

FUZZTIME ?= 30s
fuzz: ## fuzz every parser for FUZZTIME (30s) each
	@for pkg in $$($(GO) list $(PKGS)); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg || exit 1; \
	  done; \
	done

docs: ## write docs/reference from the code
	$(GO) run ./cmd/gradstream docs docs/reference

clean: ## remove what was built
	rm -rf bin
