//! Within what a pid and a monotonic time mean something: one machine, one boot, one pid namespace.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub machine_id: String,
    pub boot_id: String,
    pub pid_ns: String,
}

impl Identity {
    /// Of the process that asks.
    pub fn current() -> io::Result<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        let pid_ns = fs::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned();
        Ok(Self { machine_id: machine_id()?, boot_id, pid_ns })
    }
}

/// Containers often have no machine id, but a hostname of their own.
fn machine_id() -> io::Result<String> {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    match id.trim() {
        "" | "uninitialized" => {
            Ok(format!("host {}", fs::read_to_string("/proc/sys/kernel/hostname")?.trim()))
        }
        id => Ok(id.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_each_time_and_says_something() {
        let identity = Identity::current().unwrap();
        assert_eq!(identity, Identity::current().unwrap());
        assert!(!identity.machine_id.is_empty() && identity.boot_id.len() == 36);
        assert!(identity.pid_ns.starts_with("pid:["));
    }
}
