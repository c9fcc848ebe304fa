# Two commands do everything: `make demo` shows the gateway at work, `make test` proves it.

.PHONY: demo test lint bench docs setup setup-build

demo: setup-build    ## Build the release binary and start it with a demo; REALM=affilync: of a documented API.
	cargo build --release --locked
	./target/release/portcullis demo $(if $(REALM),--config config --realm $(REALM),--config config/quickstart)

test: setup          ## Run every test.
	cargo test --locked

lint: setup-build    ## Format, lints, documentation, supply chain.
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
	scripts/cargo-deny check bans licenses sources

bench: setup         ## Measure a decision, and the whole beside a bare proxy. A million stored keys: cargo bench --bench store
	cargo bench --locked --bench decide
	cargo bench --locked --bench proxy

docs: setup          ## Write the generated pages anew.
	UPDATE_DOCS=1 cargo test --locked --test it generated_pages

setup:
	@scripts/setup

setup-build:
	@scripts/setup build
