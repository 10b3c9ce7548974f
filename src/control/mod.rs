//! How anything outside the supervisor talks to it: one JSON-lines protocol over a Unix socket. The dashboard, the
//! verbs and any script speak the same. A client can neither slow the supervisor down nor break it.
//!
//! Reading order: [`wire`] (what is said), [`lines`] (how it is cut), [`socket`] (where it is), [`serve`], [`client`],
//! [`lock`] (who supervises this workspace), [`watch`] (waking up when a file changes).

pub mod client;
pub mod lines;
pub mod lock;
mod outbox;
pub mod serve;
pub mod socket;
pub mod watch;
pub mod wire;
