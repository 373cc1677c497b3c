//! The `factory` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all: the sandbox's helper and the payload of an attack must have one thread and nothing of a runtime.
    factory::sandbox::helper_door();
    factory::llm::watcher_door();
    factory::attack::part_door();
    ExitCode::from(factory::cli::main(std::env::args_os().collect()))
}
