//! Everything that is proved on the built program: one binary, one file a subject.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "plain kills, forks and waits of processes that the tests made"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "waiting on conditions of real processes has a deadline on the real clock"
)]

mod cli;
mod clients;
mod clock;
mod copies;
mod down;
mod env_files;
mod flows;
mod flows_read;
mod guest;
mod keeper;
mod layers;
mod output;
mod people;
mod people_verbs;
mod pictures;
mod readme;
mod scarce;
mod stages;
mod support;
mod tui;
mod tui_look;
mod writes;
