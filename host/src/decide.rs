//! The flow: resolve once, ask what is needed, gather, evaluate.
