fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == restage::keeper::GUARD) {
        return restage::keeper::main(&arguments.collect::<Vec<_>>());
    }
    std::process::ExitCode::SUCCESS
}
