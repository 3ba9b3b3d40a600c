SHELL := /bin/bash -o pipefail
FUZZTIME ?= 10s
SEEDS ?= 25
BASE ?=

.DEFAULT_GOAL := help
.PHONY: help check all deps test simulate vet lint fmt-check tidy-check build fuzz soak bench \
	bench-stores vuln api-diff

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' Makefile

check: ## daily work: unit tests, vet and lint, without root, network or other programs
	scripts/each-module.sh go test -short ./...
	scripts/vet.sh
	$(MAKE) fmt-check lint

all: test simulate vet lint fmt-check tidy-check build ## what a change must pass, without fuzzing

deps: ## install what the tests drive: Debian's packages and npm's, where they are missing
	scripts/deps.sh

# Not from the cache: some tests look at files and programs that it does not watch.
test: deps ## every test with the race detector, and the peers that it needs
	scripts/each-module.sh go test -race -count=1 -timeout 30m ./...

# Without the race detector, which make test has for two of them.
simulate: ## whole relays in memory with faults: 100,000 recipients; SEEDS sets how many
	SIMULATION_SEEDS=$(SEEDS) go test -count=1 -timeout 2h -v -run '^TestSimulation$$' \
		./relay/spool/filespool ./relay/internal/simtest | grep -v -e '^=== ' -e '^ *--- PASS'

vet: ## go vet, for this system and for Windows, macOS and 32 bits
	scripts/vet.sh

lint: ## the linter that tools/go.mod pins
	scripts/lint.sh

fmt-check: ## name the files that gofmt would change
	scripts/fmt-check.sh

tidy-check: ## see that every go.mod is tidy
	scripts/each-module.sh env GOWORK=off go mod tidy -diff
	cd tools && GOWORK=off go mod tidy -diff

# Without the workspace, as those who import a module build it.
build: ## build every module without the workspace
	scripts/each-module.sh env GOWORK=off go build -o /dev/null ./...

fuzz: ## every fuzz target for FUZZTIME, 10s by default
	scripts/each-module.sh "$(CURDIR)/scripts/fuzz.sh" $(FUZZTIME)

soak: ## what takes hours: a thousand kills each, a long simulation, leases under a snapshot, fuzzing
	cd examples && KILLS=1000 go test -count=1 -timeout 3h -run Kill ./internal/crashtest
	cd relay/spool/pgspool && ROUNDS=40 go test -count=1 -timeout 3h -run Cluster ./internal/clustertest
	cd examples/bench-stores && go run . -strict -scenario snapshot -window 10m
	$(MAKE) simulate SEEDS=1000
	$(MAKE) fuzz FUZZTIME=5m

bench: deps ## the gateway beside Postfix; BENCH holds flags such as "-quick" or "-scenario b,d2"
	cd examples && go run ./bench $(BENCH)

bench-stores: deps ## the queue in PostgreSQL beside River, Postfix and a directory; BENCH holds flags
	cd examples/bench-stores && go run . $(BENCH)

vuln: ## known vulnerabilities, where the database can be reached
	scripts/vuln.sh

api-diff: ## the exported API beside that of BASE, the newest tag by default
	scripts/api-diff.sh $(BASE)
