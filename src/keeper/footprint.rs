//! Giving back what only the start of a process needed. Code pages that were touched once (the reader of configs, of
//! arguments) stay mapped for ever otherwise; they are clean and come back by themselves should they be needed again.

use std::ptr;

/// To be called once things have settled. What cannot be given back stays; nothing depends on it.
pub fn give_back() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (begin, end) in maps.lines().filter_map(code_of_a_file) {
        // SAFETY: the range is a mapping of ours, backed by a file, without write permission and never written to: the
        // kernel reads it anew from the file on the next touch. No memory that Rust knows of changes.
        unsafe { libc::madvise(ptr::with_exposed_provenance_mut(begin), end - begin, libc::MADV_DONTNEED) };
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: a plain call into the allocator, which locks itself.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Large pieces of memory go back to the system as soon as they are free, for good. By itself the allocator of glibc
/// holds on to larger and larger ones once it has seen them freed. To be called once, before other threads run.
pub fn keep_little() {
    // SAFETY: it takes no pointer; it sets a limit of the allocator, to what that began with.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// The range of an executable mapping of a file. Relocated data is never executable, so it is never in one.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (begin, end) = fields.next()?.split_once('-')?;
    let executable = fields.next()? == "r-xp";
    let is_file = fields.nth(3).is_some_and(|path| path.starts_with('/'));
    let number = |text| usize::from_str_radix(text, 16).ok();
    (executable && is_file).then_some((number(begin)?, number(end)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_given_back() {
        let code = "563a7442e000-563a74922000 r-xp 001b2000 08:00 42  /usr/bin/restage";
        assert_eq!(code_of_a_file(code), Some((0x563a_7442_e000, 0x563a_7492_2000)));
        for other in [
            "563a74922000-563a74974000 r--p 006a5000 08:00 42  /usr/bin/restage",
            "563a7bef8000-563a7c40d000 rw-p 00000000 00:00 0  [heap]",
            "7fff840ec000-7fff8410d000 r-xp 00000000 00:00 0  [vdso]",
            "",
        ] {
            assert_eq!(code_of_a_file(other), None, "{other}");
        }
    }

    #[test]
    fn a_process_goes_on_afterwards() {
        give_back();
        assert_eq!("go on".len(), 5);
    }
}
