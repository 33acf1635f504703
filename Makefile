# Every target sets up what it needs, shows progress, and keeps what it got under ${XDG_CACHE_HOME:-~/.cache}/flokoa. Programs of
# Kubernetes, etcd, KWOK, Helm, and kind are downloaded, or compiled where that fails. FLOKOA_DOWNLOADS=off compiles them,
# FLOKOA_DOWNLOADS=URL names a mirror.
# All that a machine must have is Go, make, git, and bash.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export CGO_ENABLED := 0

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
IMAGE   ?= ghcr.io/flokoa/flokoa-operator:$(VERSION)
# The agent of examples/agent.
AGENT_IMAGE ?= ghcr.io/flokoa/example-agent:$(VERSION)
# What images are built for.
ARCH    ?= $(shell go env GOARCH)
# What images say about themselves.
LABELS   = --build-arg VERSION=$(VERSION:v%=%) --build-arg REVISION=$(shell git rev-parse HEAD)
# What builds a released image and lists its contents. A tag can be moved, a digest cannot.
BUILDKIT := moby/buildkit:v0.33.0@sha256:6c2fa84a6b61ccd72899dde4239f8d5717f05f9a8ca6f3cad185fb1a95a94de3
SCANNER  := docker/buildkit-syft-scanner:1.12.0@sha256:ae4f3b554449e7e25548e7d8ccc029d17357348e30c6e3df01b92bc93654d6a9
# Without what a debugger reads, which takes a third of the time that each of many test programs takes to be linked.
GO_TEST := go test -count=1 -ldflags="-s -w"

# A test's folder is its tier. Modules of their own are found by their go.mod.
UNIT_TESTS   := ./operator/api/... ./operator/cmd/... ./operator/internal/... ./examples/... \
                ./ci/cmd/... ./ci/generate/... ./ci/testkit/... ./ci/test/unit/... ./ci/tools/...
UNIT_MODULES := $(dir $(wildcard ci/clusters/*/go.mod ci/test/unit/*/go.mod))
API_TESTS    := ./operator/test/api/... ./ci/test/api/...
ECOSYSTEM_TESTS := ./ci/test/ecosystem/...
MODULES      := . $(dir $(wildcard ci/clusters/*/go.mod ci/test/*/go.mod ci/test/unit/*/go.mod))

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo demo-down
demo: ## Bring up a control plane, install Flokoa, and run an Agent with three replicas over three zones
	@ci/clusters/demo/demo.sh up
demo-down: ## Remove what the demo brought up
	@ci/clusters/demo/demo.sh down

.PHONY: cluster-up cluster-down kubeconfig
cluster-up: ## Bring up the local control plane alone
	@ci/clusters/local/cluster.sh up
cluster-down: ## Remove the local control plane
	@ci/clusters/local/cluster.sh down
kubeconfig: ## Print the path of the local control plane's kubeconfig
	@ci/clusters/local/cluster.sh kubeconfig

.PHONY: render diff
render: ## Print what is applied for an environment (ENV=production [WITH=helm|kustomize])
	@go run ./ci/cmd/render render "$(ENV)" "$(WITH)"
diff: ## Print what promotion changes (ENV=staging TO=production)
	@go run ./ci/cmd/render diff "$(ENV)" "$(TO)"

.PHONY: test test-unit test-api test-cluster
test: test-unit test-api test-cluster ## Run every test: tiers 1, 2, and 3
test-unit: ## Tier 1: no cluster
	@for tool in helm govulncheck kustomize-5.5 kustomize-5.6 kustomize-5.7 registry kubeconform kube-score; do ci/tools/build.sh $$tool >/dev/null; done # tests run them; building inside go test would be silent
	$(GO_TEST) $(UNIT_TESTS)
	@ci/test/unit/charts/unittest.sh
	@for module in $(UNIT_MODULES); do (set -x; cd $$module; $(GO_TEST) ./...); done
# What tests run on is built before them: inside go test that would be silent, and on a new machine longer than the time that
# go test gives a test.
test-api: ## Tier 2: a real API server
	@ci/tools/envtest.sh >/dev/null
	@ci/tools/build.sh helm4 >/dev/null
	$(GO_TEST) -timeout 20m $(API_TESTS)
test-cluster: ## Tier 3: a whole control plane, charts installed, simulated nodes
	@ci/clusters/local/cluster.sh up flokoa-test
	@ci/clusters/local/cluster.sh env flokoa-test >/dev/null
	@for tool in registry helm4; do ci/tools/build.sh $$tool >/dev/null; done
	$(GO_TEST) -timeout 45m -v ./ci/test/cluster/...

# What a run of the benchmark measures: README.md in ci/cmd/bench.
.PHONY: bench
bench: ## Measure the operator against a bare client (SIZES= ROUNDS= REPLICAS= SCENARIOS= OUT= FLAGS= FULL=1 PROFILE=1)
	@for tool in kubernetes etcd kwok helm; do ci/tools/build.sh $$tool >/dev/null; done
	@go run ./ci/cmd/bench $(if $(SIZES),-sizes=$(SIZES)) $(if $(ROUNDS),-rounds=$(ROUNDS)) $(if $(REPLICAS),-replicas=$(REPLICAS)) \
	  $(if $(SCENARIOS),-scenarios=$(SCENARIOS)) $(if $(OUT),-out=$(OUT)) $(if $(FLAGS),-operator-flags="$(FLAGS)") $(if $(FULL),-full) \
	  $(if $(PROFILE),-profile)

# Tier 4, on real nodes: KUBECONFIG of a cluster that is yours, or kind on this machine.
.PHONY: kind-up kind-down test-kind
kind-up: ## Bring up a cluster of real nodes: kind, one control plane and three workers in three zones
	@ci/clusters/kind/kind.sh up
kind-down: ## Remove the kind cluster
	@ci/clusters/kind/kind.sh down
test-kind: ## Tier 4: real containers under traffic, on kind (or on the cluster of KUBECONFIG)
	@ci/test/kind/run.sh

# The controllers of Flux and Argo CD, built from their own code; they take about ten minutes once. `make test-gitops RUN=flux` runs one of them.
GITOPS_TOOLS := kubernetes etcd kwok helm registry kustomize source-controller kustomize-controller argocd
.PHONY: test-gitops
test-gitops: ## Flux and Argo CD install the examples, correct what is changed by hand, and upgrade (RUN= selects tests)
	@for tool in $(GITOPS_TOOLS); do ci/tools/build.sh $$tool >/dev/null; done
	$(GO_TEST) -timeout 60m -v $(if $(RUN),-run '/^$(RUN)$$') ./ci/test/gitops/...

# Flokoa together with other projects, built from their own code; neither in `make test` nor in CI. KEDA takes about ten minutes once.
.PHONY: test-ecosystem test-keda
test-ecosystem: ## KEDA, VPA, Gateway API, Cilium, Reloader, and Squid with Agents (RUN= selects tests)
	@for tool in kubernetes etcd kwok helm; do ci/tools/build.sh $$tool >/dev/null; done
	$(GO_TEST) -timeout 60m -v $(if $(RUN),-run $(RUN)) $(ECOSYSTEM_TESTS)
test-keda: ## KEDA's operator and metrics server scale an Agent
	@$(MAKE) --no-print-directory test-ecosystem RUN=KEDA ECOSYSTEM_TESTS=./ci/test/ecosystem

.PHONY: build programs image-names image push charts overlays install-yaml schemas freeze release-notes release-check
build: ## Build the operator into bin/
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/flokoa-operator ./operator/cmd/flokoa-operator
programs: ## Compile what goes into images (ARCH="amd64 arm64")
	@for arch in $(ARCH); do \
	  GOOS=linux GOARCH=$$arch go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/linux/$$arch/ \
	    ./operator/cmd/flokoa-operator ./examples/agent; \
	done
image-names: # the message shows no address: it can have a password
	$(if $(findstring ://,$(IMAGE) $(AGENT_IMAGE)),$(error IMAGE and AGENT_IMAGE have no scheme: use a name such as ghcr.io/flokoa/flokoa-operator:v0.1.0))
image: image-names programs ## Build the images of the operator and of the example agent with docker (IMAGE=, AGENT_IMAGE=)
	docker build --build-arg TARGETARCH=$(ARCH) $(LABELS) --file operator/Dockerfile --tag $(IMAGE) bin/linux
	docker build --build-arg TARGETARCH=$(ARCH) $(LABELS) --file examples/agent/Dockerfile --tag $(AGENT_IMAGE) bin/linux
push: image-names programs ## Push the operator's image with SBOM and provenance, and write its digest to dist/image.json (ARCH="amd64 arm64" IMAGE=)
	@mkdir -p dist
	@docker buildx inspect flokoa >/dev/null 2>&1 || docker buildx create --name flokoa --driver-opt image=$(BUILDKIT)
	platforms="$$(printf ',linux/%s' $(ARCH))"; docker buildx build --builder flokoa --platform "$${platforms#,}" $(LABELS) \
	  --attest type=provenance,mode=max --attest type=sbom,generator=$(SCANNER) --metadata-file dist/image.json \
	  --file operator/Dockerfile --tag $(IMAGE) --push bin/linux
# An empty variable is passed on and refused: a release must not lose its digest, or its registry, silently.
charts: ## Package the charts, each with an SBOM, into dist/, and push them (DIGEST=sha256:... of the operator's image, REGISTRY=oci://host/path)
	@go run ./ci/cmd/release package dist $(if $(filter-out undefined,$(origin DIGEST)),"$(DIGEST)")
	$(if $(filter-out undefined,$(origin REGISTRY)),@go run ./ci/cmd/release push dist "$(REGISTRY)")
overlays: ## Pack the overlays for Flux into dist/, and push them to REGISTRY/overlays (DIGEST=, REGISTRY= as for charts)
	@go run ./ci/cmd/release overlays dist $(if $(filter-out undefined,$(origin DIGEST)),"$(DIGEST)")
	$(if $(filter-out undefined,$(origin REGISTRY)),@go run ./ci/cmd/release push-overlays dist "$(REGISTRY)")
install-yaml: ## Write dist/install.yaml: CRD, policies, and operator in one file (DIGEST= as for charts)
	@go run ./ci/cmd/release install-yaml dist $(if $(filter-out undefined,$(origin DIGEST)),"$(DIGEST)")
schemas: ## Write the JSON Schemas of the CRD, for editors, into dist/schemas
	@go run ./ci/cmd/release schemas dist
freeze: ## Store a copy of the charts for the upgrade tests: before a release
	@go run ./ci/cmd/release
release-notes: ## Print what the changelog says of a version (TAG=v0.1.0)
	@go run ./ci/cmd/release notes "$(TAG)"
release-check: ## Say whether the repository is ready for a tag (TAG=v0.1.0)
	@go run ./ci/cmd/release "$(TAG)"

.PHONY: generate verify lint govulncheck
generate: ## Regenerate the CRD and deep copies from the Go types
	@ci/generate/generate.sh
verify: ## Check that generated files and go.mod files are current, and what charts, overlays, and examples render
	@ci/generate/verify.sh
	@go run ./ci/cmd/verify "$$(ci/tools/build.sh kubeconform)/kubeconform" "$$(ci/tools/build.sh kube-score)/kube-score"
lint: ## Run golangci-lint
	@lint="$$(ci/tools/build.sh golangci-lint)/golangci-lint"; for module in $(MODULES); do (cd $$module; "$$lint" run ./...); done
# The modules of ci/tools are left out: they run in tests only, and Kubernetes has vulnerabilities that no version fixes.
govulncheck: ## Report known vulnerabilities that the code reaches (REQUIRED=1 fails without the database; DB=URL of another)
	@go run ./ci/cmd/govulncheck $(if $(REQUIRED),-required) $(if $(DB),-db="$(DB)") "$$(ci/tools/build.sh govulncheck)/govulncheck" $(MODULES)
