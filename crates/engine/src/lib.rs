//! The gate: every interaction between a subject and the stores
