//! Writes the dashboards, the alert rules and the page of metrics to where they are checked in.
//!
//! *Next stop*: the library of this crate.

use std::process::ExitCode;
use yadkv_monitoring::{Error, files, root};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nothing more is written: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), Error> {
    for file in files()? {
        let path = root().join(&file.path);
        let told = |error: std::io::Error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(told)?;
        }
        std::fs::write(&path, file.text).map_err(told)?;
        eprintln!("{}", file.path);
    }
    Ok(())
}
