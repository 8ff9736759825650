//! Pages of the servers' HTTP ports.
//!
//! *Place*: tests and figures look at what people and supervisors would see.
//!
//! *Next stop*: `tests/detail.rs`.

use std::io::{Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long a server may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// A page; status code and body. Fails if nobody answers in HTTP there.
pub fn page(address: &str, path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // Nobody answers 1.0 in chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: server\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let parts = code.zip(answer.split_once("\r\n\r\n"));
    let (code, (_, body)) = parts.ok_or_else(|| std::io::Error::other(answer.clone()))?;
    Ok((code, body.to_owned()))
}
