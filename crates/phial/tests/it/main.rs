//! What the program claims, tried from outside: the real binary, a home of its own,
//! HTTPS, and files on a disk.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod access;
mod access_random;
mod apps;
mod attachments;
mod attachments_beside;
mod batch;
mod bucket;
mod bulk_import;
mod canary;
mod capabilities;
mod care_teams;
mod changes;
mod clinic;
mod command_line;
mod conditional;
mod conformance;
mod conformance_clinic;
mod conformance_examples;
mod conformance_random;
mod crash;
mod doctor;
mod ending;
mod everything;
mod examples;
mod export;
mod failing_audit;
mod failing_stores;
mod formats;
mod glass;
mod history;
mod hook;
mod http;
mod http_chains;
mod http_search;
mod leaks;
mod loopback;
mod mailing;
mod meta;
mod oracle;
mod own_record;
mod patching;
mod people;
mod prefer;
mod proofs;
mod provenance;
mod purge;
mod readme;
mod registering;
mod relabel;
mod reloading;
mod roles;
mod roles_fields;
mod routes;
mod routes_operations;
mod routes_pages;
mod scim;
mod services;
mod site;
mod sso;
mod steps;
mod steps_stage;
mod subscriptions;
mod subset;
mod surfaces;
mod synthea;
mod tamper;
mod tenants;
mod terminology;
mod tokens;
mod tour;
mod validate;
mod vendors;
