//! What people and machines read: pure text made of the views of [`crate::domain::view`], and the lines of headless
//! mode. Nothing here asks the supervisor for anything, but for the dashboard ([`tui`]), which is one of its clients.

pub mod flow;
pub mod headless;
pub mod recorded;
pub mod status;
pub mod text;
pub mod tui;
pub mod why;
