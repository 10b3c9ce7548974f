//! The dashboard: a client of the supervisor that people leave open all day.
//!
//! ```text
//!  terminal ─► Event ─► update(&mut Model, Event, now) ─► Cmd ─► link (the supervisor), log worker, desk, terminal
//!  supervisor ─► Event                │                                              │
//!  log worker ─► Event                ▼                                              └─► Event
//!                           draw(frame, &Model)
//! ```
//!
//! [`update`] is the only place that decides; it does no I/O and reads no clock. [`view`] draws the model: total
//! functions of it, with no I/O, no clock and no result. [`run`] is the loop between both and the world: it owns the
//! terminal ([`term`]), the connection ([`link`]) and the workers, and never waits for any of them. So a key is answered
//! at once whatever the supervisor does, and every test drives the real thing without a terminal.
//!
//! What may take long has a thread of its own: the connection ([`link`]), whoever reads a file ([`reader`]), and whoever
//! writes to the terminal ([`writer`]).
//!
//! Reading order: [`event`], [`model`], [`update`], [`rows`], [`layout`], [`view`], [`theme`], [`run`]. The table of keys
//! is [`crate::domain::keys`]. A new screen is a variant of [`model::Screen`], a file in [`view`], a place of the key
//! table, and its lines in `can` (what its keys may do now) and `update::act` (what they do); the compiler names them.
//!
//! A pane with state of its own ([`log`], [`attach`]) follows one form: `act(action)`, `press(key)`, `news(…)` and
//! `resize(…)` change it and return [`event::Cmd`]s; `draw(frame, area, &pane, …)` shows it; a worker beside it performs
//! its commands off the loop and sends `Event::Log(news)`. Where a runner's own words are shown, they went through
//! [`crate::logs::sanitize`] or [`crate::frontend::text::one_line`].

pub mod analytics;
pub mod attach;
mod can;
pub mod dialog;
pub mod event;
#[cfg(test)]
mod fixture;
pub mod fleet;
pub mod flows;
pub mod input;
pub mod layout;
pub mod link;
pub mod log;
pub mod model;
mod orders;
pub mod palette;
pub mod reader;
pub mod rows;
pub mod run;
pub mod term;
pub mod theme;
pub mod toast;
mod translate;
pub mod update;
pub mod view;
pub mod writer;
