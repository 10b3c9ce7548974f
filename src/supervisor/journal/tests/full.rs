//! A disk without room.

use super::*;

/// A disk of a few pages, where we may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("none"), dir.path(), Some("tmpfs"), flags, Some("size=32k")).ok()?;
        Some(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_recorded() {
    let Some(disk) = SmallDisk::new() else { return };
    let dir = disk.0.path();
    let (mut file, first) = open_in(dir, "today");
    let mut recorded = 0;
    let refused = loop {
        match file.record(&state("a", recorded + 1)) {
            Ok(()) => recorded += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
    assert!(refused.to_string().starts_with("append to the journal "), "{refused}");
    compact(&mut file);
    assert!(file.trouble().unwrap().contains("runner_state.json"), "{:?}", file.trouble());
    drop(file);

    // A supervisor starts all the same, with a higher number, and says why it begins nothing.
    let clock = Arc::new(Hands::default());
    clock.advance(Duration::from_secs(1));
    fs::write(dir.join("filler"), vec![0; 64 << 10]).unwrap_err();
    let (mut file, recovered) = StateFile::open(dir, owner("today"), clock).unwrap();
    assert_eq!(counts(&recovered), pairs(&[("a", recorded)]));
    assert!(recovered.epoch > first.epoch);
    assert!(recovered.notes.iter().any(|note| note.contains("until there is room")), "{:?}", recovered.notes);
    file.record(&state("a", 9999)).unwrap_err();

    fs::remove_file(dir.join("filler")).ok();
    nix::mount::mount(Some("none"), dir, None::<&str>, nix::mount::MsFlags::MS_REMOUNT, Some("size=256k"))
        .unwrap();
    file.record(&state("b", 1)).unwrap();
    compact(&mut file);
    assert_eq!(file.trouble(), None);
    drop(file);
    assert_eq!(counts(&open_in(dir, "today").1), pairs(&[("a", recorded), ("b", 1)]));
}
