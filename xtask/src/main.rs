//! `cargo xtask tidy`: the rules of this repository that the compiler does not know.
//!
//! *Place*: `make test` runs it.
//!
//! *Next stop*: [`tidy`].

mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    match task.as_deref() {
        Some("tidy") => tidy::run(),
        _ => {
            eprintln!("usage: cargo xtask tidy");
            ExitCode::FAILURE
        }
    }
}
