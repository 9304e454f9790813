//! The one test binary: everything that needs more than one crate, and everything end to end.
//!
//! `conformance`: the reference implementation's cases, natively and in the sandbox. `vectors`: what real
//! tools signed. `sandbox`: hostile input and hostile components. `registry`: lying registries and the
//! security history. `cli`: what users type. `docs`: what the pages say is so. `real_tools`: gpg, skopeo,
//! podman and a real registry. `webhook`: the server as a cluster meets it.

mod cli;
mod conformance;
mod deviations;
mod docs;
mod real_tools;
mod registry;
mod sandbox;
mod support;
mod vectors;
mod webhook;
