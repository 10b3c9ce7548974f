//! The environment of children: that which restage itself was started with, kept as the kernel takes it, with what each
//! attempt changes in it.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::sweep::{MARKER, marker};

/// What an attempt sets, or with `None` unsets.
type Changes = BTreeMap<String, Option<String>>;

#[derive(Debug)]
pub(crate) struct Environment {
    base: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// `NAME=value`
    text: CString,
    name_len: usize,
}

impl Entry {
    fn of(name: &OsStr, value: &[u8]) -> Option<Self> {
        let text = CString::new([name.as_bytes(), b"=", value].concat()).ok()?;
        Some(Self { text, name_len: name.len() })
    }

    fn name(&self) -> &[u8] {
        self.text.as_bytes().get(..self.name_len).unwrap_or_default()
    }

    fn value(&self) -> &OsStr {
        OsStr::from_bytes(self.text.as_bytes().get(self.name_len + 1..).unwrap_or_default())
    }
}

impl Environment {
    pub(crate) fn take() -> Self {
        Self::of(std::env::vars_os().map(|(name, value)| (name, value.into_vec())))
    }

    fn of(entries: impl Iterator<Item = (impl AsRef<OsStr>, Vec<u8>)>) -> Self {
        // A NUL cannot be in what the kernel handed us.
        Self { base: entries.filter_map(|(name, value)| Entry::of(name.as_ref(), &value)).collect() }
    }

    /// As it was taken.
    pub(crate) fn whole(&self) -> Vec<&CStr> {
        self.base.iter().map(|entry| entry.text.as_c_str()).collect()
    }

    pub(crate) fn value<'a>(&'a self, changes: &'a Changes, name: &str) -> Option<&'a OsStr> {
        match changes.get(name) {
            Some(value) => value.as_deref().map(OsStr::new),
            None => self.base.iter().find(|entry| entry.name() == name.as_bytes()).map(Entry::value),
        }
    }

    /// What an attempt has of its own. The marker goes behind those of the attempts that we are inside of.
    pub(crate) fn own(&self, changes: &Changes, token: u64) -> Vec<CString> {
        let outer = self.value(changes, MARKER).filter(|outer| !outer.is_empty());
        let path = outer.map(|outer| [outer.as_bytes(), b"/"].concat()).unwrap_or_default();
        let marked = Entry::of(OsStr::new(MARKER), &[&path, marker(token).as_bytes()].concat());
        let set = changes.iter().filter(|(name, _)| *name != MARKER);
        // The config refuses a NUL.
        set.filter_map(|(name, value)| Entry::of(OsStr::new(name), value.as_ref()?.as_bytes()))
            .chain(marked)
            .map(|entry| entry.text)
            .collect()
    }

    /// All that a child gets, each name once.
    pub(crate) fn merged<'a>(&'a self, changes: &Changes, own: &'a [CString]) -> Vec<&'a CStr> {
        let changed = |entry: &Entry| {
            entry.name() == MARKER.as_bytes()
                || std::str::from_utf8(entry.name()).is_ok_and(|name| changes.contains_key(name))
        };
        let kept = self.base.iter().filter(|entry| !changed(entry)).map(|entry| entry.text.as_c_str());
        kept.chain(own.iter().map(CString::as_c_str)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &[(&str, &str)], changes: &[(&str, Option<&str>)]) -> Vec<String> {
        let environment = Environment::of(base.iter().map(|(name, value)| (name, value.as_bytes().to_vec())));
        let changes: Changes =
            changes.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect();
        let own = environment.own(&changes, 0xab);
        let mut all: Vec<String> = environment
            .merged(&changes, &own)
            .into_iter()
            .map(|entry| entry.to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    #[test]
    fn what_is_set_replaces_and_what_is_unset_goes() {
        let base = [("A", "1"), ("B", "2"), ("C", "")];
        let changes = [("B", Some("x=y")), ("A", None), ("D", Some(""))];
        assert_eq!(merged(&base, &changes), ["B=x=y", "C=", "D=", "RESTAGE_TREE=ab"]);
        assert_eq!(merged(&[], &[]), ["RESTAGE_TREE=ab"]);
    }

    #[test]
    fn the_marker_goes_behind_the_outer_ones() {
        assert_eq!(merged(&[(MARKER, "1/2")], &[]), ["RESTAGE_TREE=1/2/ab"]);
        assert_eq!(merged(&[(MARKER, "1")], &[(MARKER, Some("7"))]), ["RESTAGE_TREE=7/ab"]);
        assert_eq!(merged(&[(MARKER, "1")], &[(MARKER, None)]), ["RESTAGE_TREE=ab"]);
    }

    #[test]
    fn the_path_is_the_childs_own() {
        let environment = Environment::of([("PATH", b"/bin".to_vec())].into_iter());
        let changes = |value: Option<&str>| Changes::from([("PATH".into(), value.map(str::to_owned))]);
        assert_eq!(environment.value(&Changes::new(), "PATH"), Some(OsStr::new("/bin")));
        assert_eq!(environment.value(&changes(Some("/x")), "PATH"), Some(OsStr::new("/x")));
        assert_eq!(environment.value(&changes(None), "PATH"), None);
    }
}
