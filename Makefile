# Messages go to stderr and recipes are quiet: `make demo ARGS="--once --json"`
# must print its JSON and nothing else on stdout.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

ifeq ($(shell command -v go),)
ifneq ($(filter-out help,$(or $(MAKECMDGOALS),help)),)
$(error go is not on PATH: install Go 1.26 or newer)
endif
endif

.PHONY: help fetch demo plugin test fuzz vulncheck soak cluster cluster-images cluster-down cluster-programs cluster-test image clean clean-cache

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

fetch: ## get all that tests and the demo need into .cache (once)
	@go run ./internal/fetch/cmd libchdb kafka zookeeper chromium >&2
	@if [ -e charts/viewer/web/package-lock.json ]; then go run ./internal/fetch/cmd viewer >&2; fi
	@go run ./internal/fetch/cmd plugin >&2

demo: ## the whole path on this machine; flags go in ARGS="..."
	@go run ./internal/fetch/cmd libchdb viewer >&2
	@mkdir -p bin && go build -o bin/ ./cmd/demo ./cmd/duiwu >&2
	@exec bin/demo $(ARGS)

plugin: ## the Grafana plugin as a zip for linux amd64 and arm64, into bin/
	@mkdir -p bin && go run ./charts/pack -out bin

test: fetch cluster-programs ## everything: format, vet, all tests on real servers, every fuzz target for some seconds
	@bad=$$(git ls-files -z --cached --others --exclude-standard '*.go' | xargs -0 gofmt -l); \
	 if [ -n "$$bad" ]; then echo "not formatted, run gofmt -w:"; echo "$$bad"; exit 1; fi
	@go vet ./...
	@go vet -C tools ./...
	@go vet -C tools/alertcheck ./...
	@DUIWU_TEST=full go test -p 2 -timeout 20m ./...
	@go test ./bench/steps -count 1 -guard
	@go run ./bench/files --csv 50000000 --xlsx 50000 --memory 256
	@$(MAKE) cluster-test
	@$(MAKE) fuzz
	@$(MAKE) vulncheck

FUZZTIME ?= 10s

# Minimizing an input that is merely new would take all of the time. charts/pkg/plugin
# has a target too, whose seeds every test run holds: its build would instrument all of Grafana's
# SDK for seconds of fuzzing. Go sometimes reports its own deadline as a failure (golang/go#75804):
# a finding says where its input was written.
fuzz: ## every fuzz target for FUZZTIME (10s); what it finds stays in testdata/fuzz
	@set -e; grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9]*' charts/pkg/catalogue ingest internal sink | sort | while IFS=: read -r file target; do \
	 target=$${target#func }; echo "$$(dirname $$file) $$target"; \
	 go test ./$$(dirname $$file) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x >.fuzz.log 2>&1 || { grep -q 'context deadline exceeded' .fuzz.log && ! grep -q 'Failing input' .fuzz.log; } || { cat .fuzz.log; rm -f .fuzz.log; exit 1; }; \
	 grep ^fuzz .fuzz.log | tail -n 1; done; rm -f .fuzz.log

vulncheck: ## known vulnerabilities in what is built and shipped; needs the databases of Go and npm
	@out=$$(cd tools && go tool govulncheck -C .. ./cmd/duiwu ./charts/pkg 2>&1); rc=$$?; echo "$$out"; \
	 case "$$rc $$out" in 0\ *) ;; *"fetching vulnerabilities"*) echo "SKIPPED: Go's vulnerability database is out of reach, as said above; GOVULNDB=file:///DIR names a copy";; *) exit 1;; esac
	@for dir in charts charts/viewer/web; do \
	 out=$$(cd $$dir && npm audit --omit=dev 2>&1); rc=$$?; echo "$$dir: $$out" | head -n 40; \
	 case "$$rc $$out" in 0\ *) ;; *"audit endpoint"*) echo "SKIPPED: $$dir: npm's registry here answers no audit, as said above";; *) exit 1;; esac; done

soak: ## break the path at every moment and write docs/reliability.md; flags go in ARGS="..."
	@go run ./internal/fetch/cmd libchdb kafka >&2
	@mkdir -p bin && go build -o bin/faults ./bench/faults >&2
	@exec bin/faults $(ARGS)

cluster: ## a real Kubernetes of one node on this machine (root, Debian); eval "$(make cluster)" for kubectl and helm
	@mkdir -p bin && go build -o bin/cluster ./helm/cluster/cmd >&2
	@bin/cluster up

cluster-images: ## build the project's images and load them into it, under the names that the chart asks for
	@go run ./internal/fetch/cmd libchdb >&2
	@mkdir -p bin && go build -o bin/cluster ./helm/cluster/cmd >&2
	@bin/cluster images

cluster-down: ## end it and leave nothing
	@mkdir -p bin && go build -o bin/cluster ./helm/cluster/cmd >&2
	@bin/cluster down

# Past it a machine that is slow or busy goes without the tests on Kubernetes.
BUILD_BUDGET ?= 12m

cluster-programs: ## build Kubernetes for the tests on it, once
	@mkdir -p bin && go build -o bin/cluster ./helm/cluster/cmd >&2
	@bin/cluster -budget $(BUILD_BUDGET) prepare; s=$$?; [ $$s -eq 3 ] || exit $$s

cluster-test: ## the chart's whole life on a cluster of its own: install, records, kill, upgrade, roll back, uninstall
	@mkdir -p bin && go build -o bin/cluster ./helm/cluster/cmd >&2
	@bin/cluster -budget $(BUILD_BUDGET) prepare; s=$$?; \
	 if [ $$s -eq 3 ]; then echo "SKIPPED: the tests on a real cluster, for the reason above"; exit 0; fi; [ $$s -eq 0 ] || exit $$s; \
	 trap 'bin/cluster -dir .cluster-test down' EXIT; \
	 go run ./internal/fetch/cmd libchdb >&2 && bin/cluster -dir .cluster-test up >/dev/null && \
	 DUIWU_CLUSTER=$(CURDIR)/.cluster-test go test ./helm -run TestOnACluster -count 1 -v -timeout 20m

VERSION ?= dev
REVISION ?= $(shell git rev-parse HEAD)

image: ## the images of the program and of the plugin, for both platforms, as OCI layouts in bin, with SBOM and provenance; VERSION=0.2.0
	@set -e; zip=$$(go run ./charts/pack -out bin); release() { go run -C tools ./image release -version $(VERSION) -revision $(REVISION) -date $$(TZ=UTC git show -s --format=%cd --date=format-local:%Y-%m-%dT%H:%M:%SZ $(REVISION)) "$$@"; }; \
	 release -o $(CURDIR)/bin/image && release -o $(CURDIR)/bin/image-plugin -zip $(CURDIR)/$$zip

clean: ## remove what was built
	@rm -rf bin .demo .soak charts/viewer/web/dist charts/viewer/web/node_modules/.built

clean-cache: ## remove what was fetched
	@rm -rf "$${DUIWU_CACHE:-.cache}"
