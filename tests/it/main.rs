//! Black box: the real binary on real sockets, with origins and clients that misbehave. One file
//! per subject; `support` is the harness.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test ends with what went wrong"
)]

mod acme;
mod acme_failures;
mod acme_misbehaving;
mod acme_sharing;
mod activity;
mod activity_ends;
mod backtraces;
mod browser;
mod certificates;
mod client_certificates;
mod client_limits;
mod command_line;
mod commits;
mod control_audit;
mod control_bad_bodies;
mod control_bad_input;
mod control_bad_values;
mod control_conditions;
mod control_dry_run;
mod control_instances;
mod control_list;
mod control_listener;
mod control_match;
mod control_owners;
mod control_register;
mod control_rights;
mod control_routes;
mod control_sets;
mod control_sets_bad;
mod cutting;
mod descriptors;
mod disk_faults;
mod documents;
mod drain_ends;
mod drains;
mod engine_exceptions;
mod engine_pingora;
mod events;
mod events_failures;
mod events_readers;
mod events_renewals;
mod failures;
mod fuzz;
mod grpc;
mod grpc_connections;
mod grpcio;
mod h2_conformance;
mod heads;
mod health;
mod http2;
mod http2_floods;
mod http2_quiet;
mod http2_streams;
mod idle;
mod instances;
mod kills;
mod leases;
mod limit_keys;
mod listener_options;
mod listeners;
mod load;
mod matrix;
mod memory;
mod openapi;
mod option_names;
mod overload;
mod persistence;
mod persistence_faults;
mod prefixes;
mod proxy_header;
mod proxying;
mod proxying_fields;
mod proxying_oddities;
mod proxying_pool;
mod registration;
mod registration_bodies;
mod registration_effect;
mod registration_listener;
mod registration_paths;
mod registration_peers;
mod registration_users;
mod request_ids;
mod response_heads;
mod route_spec;
mod route_timeouts;
mod routing;
mod run_command;
mod scale;
mod security_policy;
mod smoke;
mod starting;
mod stopping;
mod store;
mod store_faults;
mod streaming;
mod support;
mod table_limits;
mod target_identity;
mod targets;
mod tls;
mod tls_clients;
mod tls_connections;
mod tls_policy;
mod tokens;
mod transfers;
mod upstream_http2;
mod upstream_tls;
mod websocket;
mod websocket_bytes;
mod websocket_silence;
mod workers;
