//! What a launcher without a sandbox costs: a static program, and a process that does nothing but spawn it on request.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The first argument that makes the benchmark itself such a process.
const SPAWNER: &str = "only-spawn";

/// Exits at once, without a C library: its start is not what is measured.
const STATIC_TRUE: &str = r#"
void _start(void) {
#if defined(__x86_64__)
    __asm__ volatile("mov $60, %eax; xor %edi, %edi; syscall");
#elif defined(__aarch64__)
    __asm__ volatile("mov x8, #93; mov x0, #0; svc #0");
#else
#error "unknown machine"
#endif
}
"#;

/// Compiles a C program; nothing when the compiler does not.
pub(crate) fn compile(source: &str, options: &[&str]) -> Option<(tempfile::TempDir, PathBuf)> {
    let scratch = tempfile::tempdir().unwrap();
    let (file, program) = (scratch.path().join("program.c"), scratch.path().join("program"));
    std::fs::write(&file, source).unwrap();
    let status = Command::new("cc")
        .args(options)
        .arg("-o")
        .args([&program, &file])
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.success().then_some((scratch, program))
}

/// A program that does nothing, started as fast as any can be.
pub(crate) fn static_true() -> Option<(tempfile::TempDir, PathBuf)> {
    compile(STATIC_TRUE, &["-O2", "-static", "-nostdlib"])
}

/// A process that spawns one program for each byte that it is sent.
pub(crate) struct Spawner {
    socket: UnixStream,
    process: Child,
}

impl Spawner {
    pub(crate) fn start(program: &Path) -> Self {
        let (socket, theirs) = UnixStream::pair().unwrap();
        let process = Command::new(std::env::current_exe().unwrap())
            .arg(SPAWNER)
            .arg(program)
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        Spawner { socket, process }
    }

    pub(crate) fn spawn(&mut self) {
        self.socket.write_all(b"1").unwrap();
        self.socket.read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.process.wait();
    }
}

/// Becomes a [`Spawner`]'s process when asked to, and then never returns.
pub(crate) fn door() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|word| word != SPAWNER) {
        return;
    }
    let program = arguments.next().unwrap();
    let input = std::os::fd::AsFd::as_fd(&std::io::stdin())
        .try_clone_to_owned()
        .unwrap();
    let mut socket = UnixStream::from(input);
    while socket.read_exact(&mut [0]).is_ok() {
        let status = Command::new(&program).stdin(Stdio::null()).status().unwrap();
        assert!(status.success());
        socket.write_all(b"1").unwrap();
    }
    std::process::exit(0);
}
