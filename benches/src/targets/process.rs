//! Servers that the benchmark starts, as processes of their own, and ends.
//!
//! *Limits and failure*: whatever is dropped is killed.
//!
//! *Next stop*: [`crate::serve`].

use crate::Error;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

/// A running server.
pub(super) struct Process(Child);

impl Process {
    /// Starts a program whose output nobody reads; `package` is the Debian package that has it.
    pub(super) fn start(command: &mut Command, package: &str) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().map_err(|error| {
            let reason = format!("cannot start it ({error}): install Debian's {package}");
            failed(&program, reason)
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
