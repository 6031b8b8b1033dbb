# Everything is built and tested from here; `make help` lists the targets.

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -X github.com/coredns/coredns/coremain.GitCommit=ddns-$(VERSION)

FUZZTIME ?= 30s
BENCH    ?= .

.DEFAULT_GOAL := help
.PHONY: help build run run-redis test race bench fuzz lint peers plugin-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/coredns and bin/ddnsctl
	go build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

run: build ## start Corefile.example in the foreground, its data in ./data
	@test/run.sh

run-redis: build ## start a Redis and two nodes on it in the foreground, their data in ./data-redis
	@test/run-redis.sh

# -count=1: Go's test cache does not see that ./test depends on the programs it builds.
test: peers lint ## all checks and tests, with the race detector and the real clients
	go test -race -count=1 -timeout 10m ./...

race: ## the tests alone, with the race detector
	go test -race -count=1 -timeout 10m ./...

bench: ## the packages' benchmarks (BENCH=REGEXP)
	go test -run '^$$' -bench '$(BENCH)' -benchmem ./...

fuzz: ## every Fuzz function for FUZZTIME (30s)
	@test/fuzz.sh $(FUZZTIME)

lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt'd: $$unformatted" >&2; exit 1; }
	go vet ./...
	go tool staticcheck ./...

peers: ## install the programs that the tests run against (Debian)
	@test/peers.sh

plugin-check: ## compile the plugin into a stock CoreDNS, as its users do, and ask it
	@test/plugin-check.sh

clean: ## remove what build made; ./data and ./data-redis stay
	rm -rf bin
