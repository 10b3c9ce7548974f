//! Which role this process has; everything else is the library's.

use std::process::ExitCode;

use restage::keeper;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Before any thread exists: the keeper's family lives without a runtime.
    match arguments.next() {
        Some(first) if keeper::is_role(&first) => keeper::main(&first, &arguments.collect::<Vec<_>>()),
        Some(_) | None => restage::cli::main(),
    }
}
