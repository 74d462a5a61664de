//! Who may see what: Cedar, roles, purposes, relationships; mints permits
