//! What several test modules share.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use countersign::digest::Digest;
use guest_build::{Guest, Toolchain};
use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Config, Engine, Store};

pub(crate) mod applied;
pub(crate) mod cluster;
pub(crate) mod registry;
pub(crate) mod server;
pub(crate) mod tekton;
pub(crate) mod tls;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The folder of conformance data and vectors beside the project; `None`, said on stderr, where it is absent.
pub(crate) fn shared() -> Option<PathBuf> {
    let shared = root().join("../shared");
    if shared.is_dir() {
        return Some(shared);
    }
    say("SKIPPED: ../shared is not here, so its conformance data is not tested");
    None
}

/// Tell whoever reads the test run: what was skipped, how many cases there were. `eprintln!` is shown for
/// failing tests only.
pub(crate) fn say(line: &str) {
    // Nobody may be reading.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A small image manifest, another one for each `name`.
pub(crate) fn manifest(name: &str) -> String {
    let config = Digest::sha256(name.as_bytes());
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [],
    })
    .to_string()
}

/// The media type of [`manifest`].
pub(crate) const OCI_IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Run one conformance case in the sandbox, in a fresh instance: `guest_policy::probe::run`, built for
/// the component. The component is built at the first call.
#[expect(clippy::panic, reason = "a trap is the failure of the test that asks")]
pub(crate) fn probe(op: &str, input: &str) -> String {
    static PROBE: OnceLock<InstancePre<()>> = OnceLock::new();
    let probe = PROBE.get_or_init(|| {
        let toolchain = Toolchain::find().expect("a toolchain choice").expect("a guest toolchain");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory");
        let wasm = guest_build::build(&Guest::engine_with_probe(target), &toolchain)
            .expect("the engine builds with its probe");
        let mut config = Config::new();
        config.wasm_simd(true).wasm_wide_arithmetic(true).cranelift_nan_canonicalization(true);
        let engine = Engine::new(&config).expect("an engine");
        let component = Component::from_binary(&engine, &wasm).expect("a component");
        Linker::new(&engine).instantiate_pre(&component).expect("no imports")
    });
    let mut store = Store::new(probe.engine(), ());
    let instance = probe.instantiate(&mut store).expect("an instance");
    let run = instance
        .get_typed_func::<(&str, &str), (String,)>(&mut store, "run")
        .expect("the probe's export");
    match run.call(&mut store, (op, input)) {
        Ok((answer,)) => answer,
        Err(error) => panic!("{op} trapped in the sandbox: {error:#}\ninput: {input:.2000}"),
    }
}
