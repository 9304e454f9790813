//! Tests of real_tools.
