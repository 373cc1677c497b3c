//! Which process it was: enough to tell, after a crash or a reboot, whether it is still there.

use super::DurableError;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A process, told apart from every other one that ever had its number.
///
/// Source: proc_pid_stat(5), `starttime`; `/proc/sys/kernel/random/boot_id` in proc_sys_kernel(5); machine-id(5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMark {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot.
    pub started: u64,
    /// The boot that it belongs to.
    pub boot: String,
    /// The machine, where that has an identity.
    pub machine: Option<String>,
}

/// What became of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is there.
    Alive,
    /// It ended, or its boot did.
    Gone,
    /// It was on another machine, of which nothing can be known from here.
    Elsewhere,
}

impl ProcessMark {
    /// The calling process.
    ///
    /// # Errors
    /// `Host` when `/proc` does not say.
    pub fn own() -> Result<Self, DurableError> {
        let pid = std::process::id();
        let started = started(pid).ok_or_else(|| {
            let missing = std::io::ErrorKind::InvalidData.into();
            DurableError::io("read", Path::new("/proc/self/stat"), missing)
        })?;
        Ok(ProcessMark {
            pid,
            started,
            boot: boot_id()?,
            machine: machine_id(),
        })
    }

    /// What became of it.
    ///
    /// # Errors
    /// `Host` when the running boot cannot be told.
    pub fn fate(&self) -> Result<Fate, DurableError> {
        if self.boot == boot_id()? {
            return Ok(match started(self.pid) {
                Some(started) if started == self.started => Fate::Alive,
                _ => Fate::Gone,
            });
        }
        // A machine without an identity is taken for this one: it has rebooted since.
        Ok(match (&self.machine, machine_id()) {
            (Some(theirs), Some(ours)) if *theirs != ours => Fate::Elsewhere,
            _ => Fate::Gone,
        })
    }
}

/// The id of the running boot.
///
/// # Errors
/// `Host` when `/proc` does not say.
pub fn boot_id() -> Result<String, DurableError> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    std::fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| DurableError::io("read", path, error))
}

fn machine_id() -> Option<String> {
    let id = std::fs::read_to_string("/etc/machine-id").ok()?;
    let id = id.trim();
    // "uninitialized" is what an image has before its first boot.
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
}

/// When the process was started. A zombie is no longer there for our purpose: it holds nothing any more.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calling_process_is_alive_and_its_number_alone_is_not_enough() {
        let own = ProcessMark::own().unwrap();
        assert_eq!(own.fate().unwrap(), Fate::Alive);
        let reused = ProcessMark {
            started: own.started + 1,
            ..own
        };
        assert_eq!(reused.fate().unwrap(), Fate::Gone);
    }

    #[test]
    fn a_process_of_another_boot_is_gone_and_one_of_another_machine_cannot_be_judged() {
        let own = ProcessMark::own().unwrap();
        let rebooted = ProcessMark {
            boot: "00000000-0000-0000-0000-000000000000".to_owned(),
            machine: None,
            ..own
        };
        assert_eq!(rebooted.fate().unwrap(), Fate::Gone);
        if machine_id().is_some() {
            let other = ProcessMark {
                machine: Some("0".repeat(32)),
                ..rebooted
            };
            assert_eq!(other.fate().unwrap(), Fate::Elsewhere);
        }
    }

    #[test]
    fn a_process_that_ended_is_gone() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let mark = ProcessMark {
            pid: child.id(),
            started: started(child.id()).unwrap(),
            ..ProcessMark::own().unwrap()
        };
        assert_eq!(mark.fate().unwrap(), Fate::Alive);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(mark.fate().unwrap(), Fate::Gone);
    }
}
