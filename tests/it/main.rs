//! Tests of the whole, in one binary: one file a subject. A file that is not named here would never run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod layers;
