//! The one test binary: everything that needs more than one crate, and everything end to end.
//!
//! `conformance`: the reference implementation's cases, natively and in the sandbox. `vectors`: what real
//! tools signed. `sandbox`: hostile input and hostile components. `rules`: what rules may use, and hostile ones.
//! `registry`: lying registries and the security history. `algebra`: requirements made of others. `admission`:
//! reviews in, answers out. `verdicts`: what a server remembers, and for how
//! long. `kubernetes`: the API, and pods' credentials. `operator`: keys as resources of a cluster. `serve`, `webhook`: the server over real connections, as an
//! administrator and as a cluster meets it. `telemetry`: metrics and traces as others read them. `cli`: what users
//! type. `workbench`: what authors of rules meet. `docs`: what the pages say is so. `deploy`: what is applied to a cluster. `real_tools`: gpg, skopeo, podman,
//! helm and a real registry.

mod admission;
mod algebra;
mod cli;
mod conformance;
mod deploy;
mod deviations;
mod docs;
mod kubernetes;
mod operator;
mod real_tools;
mod registry;
mod rules;
mod sandbox;
mod serve;
mod shipped_rules;
mod support;
mod telemetry;
mod vectors;
mod verdicts;
mod webhook;
mod workbench;
