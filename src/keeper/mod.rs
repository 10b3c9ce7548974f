//! The processes that must not fail: the keeper, its guard, its relays. They know std, nix, libc and serde, and nothing
//! of configs, retries or verdicts: so small that they can be read whole.
//!
//! The keeper is the parent of every child. It spawns, signals, reaps and sweeps as it is told, and writes down each
//! end before the kernel forgets it, until the supervisor has acknowledged it. When the supervisor dies without a
//! goodbye the keeper follows its policy: start a successor, or stop everything.
//!
//! Reading order: [`wire`] (what is said), [`link`] (how the supervisor finds and starts it), `guard` (how it begins
//! and survives), `ground` and `post` (what it stands on, and who behind it), `serve` and `orders` (its loop), `launch`,
//! `environment`, `spares` and `spawn` (how a process comes to be), `ends` (how it ends), `sweep` (who belongs to an
//! attempt), `log`, `relay` and `relays` (pipes and terminals), `terminal` (what is typed), `journal` (what outlives it),
//! `unwatched` (what is done where descriptors are scarce).

mod callers;
mod cgroup;
mod conn;
mod door;
mod ends;
mod environment;
pub mod footprint;
mod ground;
mod guard;
mod holder;
mod journal;
mod launch;
pub mod link;
mod log;
mod orders;
#[cfg(test)]
mod pid_tests;
mod pidfd_info;
mod post;
mod proc;
mod reaping;
mod relay;
mod relays;
mod serve;
mod spares;
mod spawn;
mod successor;
mod sweep;
mod terminal;
mod tree;
mod unwatched;
pub mod wire;

use std::process::ExitCode;

/// The first argument of a process that is to become a guard.
pub const GUARD: &str = "__guard";

/// Exit code of a successor that could not begin, and was not needed.
pub const NOT_NEEDED: u8 = 66;

/// Whether the first argument names a role of this room.
pub fn is_role(word: &std::ffi::OsStr) -> bool {
    word == GUARD || word == holder::ROLE
}

/// The role `__guard DATA_DIR RUNTIME_DIR auto|off`, or `__hold PID LOG`. To be called before the process has a second
/// thread.
pub fn main(role: &std::ffi::OsStr, arguments: &[std::ffi::OsString]) -> ExitCode {
    if role == holder::ROLE {
        return holder::main(arguments);
    }
    let [data_dir, runtime_dir, cgroups] = arguments else { return ExitCode::from(64) };
    let places = serve::Places {
        data_dir: data_dir.into(),
        runtime_dir: runtime_dir.into(),
        use_cgroups: cgroups != "off",
    };
    ExitCode::from(guard::start(&places))
}
