//! The room as a whole: from bytes to specs and sentences.

mod broken;
mod dashboard;
mod demo;
mod env_files;
mod flows;
mod fuzz;
mod reload;
mod rendering;
mod schema;
mod valid;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{Diagnostics, Environment, Loaded, load};
use crate::domain::spec::Limit;

/// A folder with a few files in it, and a config that each test writes.
struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir(root.join("folder")).unwrap();
        fs::create_dir(root.join("home")).unwrap();
        fs::write(root.join("plain.txt"), "text\n").unwrap();
        for (name, text) in [
            ("run.sh", "#!/bin/sh\necho run\n"),
            ("lost.sh", "#!/no/such/sh\n"),
            ("env-lost.sh", "#!/usr/bin/env no-such-interpreter\n"),
            ("windows.sh", "#!/bin/sh\r\necho\r\n"),
            ("nameless.sh", "#!\n"),
        ] {
            fs::write(root.join(name), text).unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { folder }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn env(&self) -> Environment {
        let vars = [("PATH", "/usr/bin:/bin"), ("USER", "ada"), ("EMPTY", "")];
        Environment {
            home: Some(self.root().join("home")),
            vars: vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            most: [(Limit::Memlock, 8 << 20)].into(),
        }
    }

    fn load(&self, config: impl AsRef<[u8]>) -> Result<Loaded, Diagnostics> {
        let path = self.root().join("config.json");
        fs::write(&path, config).unwrap();
        load(&path, &self.env())
    }

    /// As in a file, with the name of the folder left out.
    fn neutral(&self, text: &str) -> String {
        let root = self.root().display().to_string();
        text.replace(&format!("{root}/config.json"), "config.json").replace(&root, "ROOT")
    }
}
