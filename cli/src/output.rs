//! Results on standard output.
//!
//! *Place*: everything a person or a script asked for goes through here; errors go to standard error.
//!
//! *Limits and failure*: a reader that has seen enough (`yadkv ctl region | head -1`) is no error; a full disk is.
//!
//! *Next stop*: [`crate::commands`].

use crate::failure::{Context, Outcome};
use std::fmt::Display;
use std::io::{ErrorKind, Write};

/// Writes one line at once.
pub(crate) fn say(line: impl Display) -> Outcome {
    say_to(&mut std::io::stdout().lock(), &line)
}

fn say_to(out: &mut dyn Write, line: &dyn Display) -> Outcome {
    still_read(writeln!(out, "{line}").and_then(|()| out.flush())).map(|_| ())
}

/// Judges a write to standard output: false if whoever reads has seen enough.
pub(crate) fn still_read(written: std::io::Result<()>) -> Outcome<bool> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.context("standard output").map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    struct Broken(ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_may_leave_but_a_lost_line_is_an_error() {
        assert!(say_to(&mut Broken(ErrorKind::BrokenPipe), &"line").is_ok());
        assert!(say_to(&mut Broken(ErrorKind::StorageFull), &"line").is_err());
    }
}
