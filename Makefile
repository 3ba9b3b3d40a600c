SHELL := /bin/bash
FUZZTIME ?= 10s

.PHONY: all deps test vet lint fmt-check tidy-check build fuzz bench

all: test vet lint fmt-check tidy-check build

# What the tests drive besides Go: Debian packages, installed when missing.
deps:
	scripts/deps.sh

# Not from the cache: some tests look at files and programs that it does not watch.
test: deps
	scripts/each-module.sh go test -race -count=1 ./...

vet:
	scripts/each-module.sh go vet ./...

lint:
	scripts/lint.sh

fmt-check:
	scripts/fmt-check.sh

tidy-check:
	scripts/each-module.sh env GOWORK=off go mod tidy -diff
	cd tools && GOWORK=off go mod tidy -diff

# Without the workspace, as those who import a module build it.
build:
	scripts/each-module.sh env GOWORK=off go build ./...

fuzz:
	scripts/each-module.sh "$(CURDIR)/scripts/fuzz.sh" $(FUZZTIME)

# The gateway beside Postfix. BENCH holds flags, such as "-quick" or "-scenario b,d2".
bench: deps
	cd examples && go run ./bench $(BENCH)
