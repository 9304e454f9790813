//! Making keys and simple signatures.
