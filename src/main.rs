//! Which role this process has; everything else is the library's.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Before any thread exists: the keeper's family lives without a runtime.
    if arguments.next().is_some_and(|first| first == restage::keeper::GUARD) {
        return restage::keeper::main(&arguments.collect::<Vec<_>>());
    }
    restage::cli::main()
}
