//! The one test binary: everything that needs more than one crate, and everything end to end.
//!
//! `conformance`: the reference implementation's cases, natively and in the sandbox. `vectors`: what real
//! tools signed. `sandbox`: hostile input and hostile components. `registry`: lying registries and the
//! security history. `cli`: what users type. `docs`: what the pages say is so. `real_tools`: gpg, skopeo,
//! podman, helm and a real registry. `deploy`: what is applied to a cluster.

mod cli;
mod conformance;
mod deploy;
mod deviations;
mod docs;
mod real_tools;
mod registry;
mod sandbox;
mod support;
mod vectors;
