//! Servers that the benchmark starts, as processes of their own, and ends.
//!
//! *Limits and failure*: whatever is dropped is killed. When this program is killed or aborts, the kernel kills what
//! [`Process::start`] has started (`setpriv` asks for that, then becomes the server), and what [`Process::serve`] has
//! started ends with its standard input; temporary folders stay then. The kernel watches the thread that starts a server,
//! not the whole program: it has to be one that lives as long, like that of `main`.
//!
//! *Source*: setpriv(1); prctl(2), `PR_SET_PDEATHSIG`.
//!
//! *Next stop*: [`crate::serve`].

use crate::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// Of Debian's util-linux.
const SETPRIV: &str = "setpriv";
/// Its options: whoever starts it is not outlived.
const NOT_OUTLIVED: [&str; 3] = ["--pdeathsig", "KILL", "--"];

/// A running server.
pub(super) struct Process(Child);

impl Process {
    /// Starts a program with its arguments, whose output nobody reads; `package` is the Debian package that has it.
    pub(super) fn start(command: &mut Command, package: &str) -> Result<Self, Error> {
        let program = command.get_program();
        // Whether it was missing would not be known later: then setpriv itself has started.
        if which::which(program).is_err() {
            let reason = format!("it is not in PATH: install Debian's {package}");
            return Err(failed(&program.to_string_lossy(), reason));
        }
        let spawned = Command::new(SETPRIV)
            .args(NOT_OUTLIVED)
            .arg(program)
            .args(command.get_args())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = spawned.map_err(|error| {
            let reason = format!("cannot start it ({error}): install Debian's util-linux");
            failed(SETPRIV, reason)
        })?;
        Ok(Self(child))
    }

    /// Starts one of [`crate::serve`]'s, in a process of this program; also says where it listens.
    pub(super) fn serve(name: &'static str) -> Result<(Self, String), Error> {
        let program = std::env::current_exe().map_err(|error| failed(name, error))?;
        let mut child = Command::new(program)
            .args(["bench", "--serve", name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(name, error))?;
        let mut address = String::new();
        let output = child.stdout.take().map(BufReader::new);
        let read = output.map_or(Ok(0), |mut output| output.read_line(&mut address));
        let this = Self(child);
        match read {
            Ok(1..) => Ok((this, address.trim().to_owned())),
            Ok(0) => Err(failed(name, "it ended before it listened")),
            Err(error) => Err(failed(name, error)),
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An error of a target.
pub(super) fn failed(target: &str, reason: impl std::fmt::Display) -> Error {
    Error::Target {
        target: target.into(),
        reason: reason.to_string(),
    }
}

/// Ports that were free a moment ago.
pub(super) fn free_ports(count: usize) -> std::io::Result<Vec<u16>> {
    let listeners: std::io::Result<Vec<_>> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect();
    let listeners = listeners?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_program_that_is_missing_is_named_with_its_package() {
        let started = Process::start(&mut Command::new("no-such-program"), "a-package");
        let error = started.err().map(|error| error.to_string());
        let expected = "no-such-program: it is not in PATH: install Debian's a-package";
        assert_eq!(error.as_deref(), Some(expected));
    }

    #[test]
    fn a_server_has_the_id_that_it_was_started_with() {
        let server = Process::start(Command::new("sleep").arg("60"), "coreutils");
        let server = server.expect("sleep is there");
        let name = || std::fs::read_to_string(format!("/proc/{}/comm", server.id()));
        let deadline = Instant::now() + Duration::from_secs(10);
        while name().expect("it runs").trim_end() != "sleep" {
            assert!(Instant::now() < deadline, "it is still {:?}", name());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
