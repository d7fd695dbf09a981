# smidgen: `make demo` shows it working, `make test` checks everything. Both install what they need first (see `make setup`).

SHELL := /bin/bash
.DEFAULT_GOAL := help
SMIDGEN := cargo run --release -p smidgen-trainer --bin smidgen --

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

.PHONY: setup
setup: ## Install what is missing: Rust targets (rustup), gcc, qemu-system-arm (apt), test tools (cargo)
	@tools/setup.sh

.PHONY: demo
demo: setup-run ## Train on handwritten digits, quantize, run on an emulated Cortex-M4, compare every byte
	@$(SMIDGEN) demo

.PHONY: setup-run
setup-run:
	@tools/setup.sh --run-only

.PHONY: test
test: setup ## Everything that CI checks
	@tools/test.sh

.PHONY: bench
bench: setup-run ## Measure the models of docs/benchmarks.md on all emulated cores and write it (needs SMIDGEN_SHARED)
	@tools/benchmarks.py

.PHONY: bench-train
bench-train: setup-run ## Train five networks here, with PyTorch and with TensorFlow in turn, and write docs/training-speed.md (downloads 3 GB at first)
	@cargo build --quiet --release -p smidgen-trainer
	@tools/bench_train.py

.PHONY: format
format: ## Format all Rust code
	cargo fmt --all
	cd firmware && cargo fmt --all

.PHONY: tflite-schema
tflite-schema: ## Generate the reader and writer of .tflite files anew from schema.fbs
	@tools/generate-tflite-schema.sh

.PHONY: fuzz-smoke
fuzz-smoke: ## A short run of each fuzz target (needs a nightly toolchain and cargo-fuzz)
	@tools/fuzz-smoke.sh

.PHONY: clean
clean: ## Remove everything that was built
	cargo clean
	cd firmware && cargo clean
