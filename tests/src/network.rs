//! A network between the servers of a test, of which any direction may be cut.
//!
//! *Place*: [`crate::Cluster::start_behind_network`] puts a proxy before each server; tests cut and mend.
//!
//! *Life of a connection*: somebody connects to a proxy → the proxy finds out who, connects to the server behind it →
//! two threads carry bytes, one each way → either side ends, both end.
//!
//! *Who it is*: the socket's inode from `/proc/net/tcp`, looked for among the open files of the processes whose data lies
//! in the cluster's folder. Everybody else is [`CLIENT`].
//!
//! *A cut*: bytes of that direction are held, on connections that either side opened; once mended they go on, as TCP
//! sends again what got lost. Nobody is told.
//!
//! *Limits*: Linux only. At most 64 KiB are held each way, beside the buffers of the sockets.
//!
//! *Next stop*: `tests/faults_network.rs`.

use crate::listeners;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Who is no server of the cluster.
pub const CLIENT: &str = "client";
/// Looks that find no server before a connection counts as a client's.
const LOOKS_MIN: usize = 3;
/// Looks until it is given up whose a connection is.
const LOOKS_MAX: usize = 30;
/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

type Cuts = BTreeSet<(String, String)>;

/// The cuts of a network.
#[derive(Clone, Debug, Default)]
pub struct Network {
    cuts: Arc<(Mutex<Cuts>, Condvar)>,
}

impl Network {
    /// Bytes from one to another no longer arrive.
    pub fn cut(&self, from: &str, to: &str) {
        let mut cuts = self.cuts.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.insert((from.to_owned(), to.to_owned()));
    }

    /// Neither hears the other.
    pub fn part(&self, one: &str, other: &str) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Everything arrives again.
    pub fn mend(&self) {
        let mut cuts = self.cuts.0.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.clear();
        self.cuts.1.notify_all();
    }

    /// Waits until bytes of a direction may pass.
    fn pass(&self, way: &(String, String)) {
        let cuts = self.cuts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.cuts.1.wait_while(cuts, |cuts| cuts.contains(way));
        drop(waited);
    }

    /// The address of a proxy before the server `name`, whose cluster keeps its data in `folder`.
    pub(crate) fn stand_before(&self, name: &str, listens: &str, folder: &Path) -> String {
        let listener = listeners(1).remove(0);
        let address = listener.local_addr().expect("bound").to_string();
        let (network, server) = (self.clone(), (name.to_owned(), listens.to_owned()));
        let folder = folder.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (network, server, folder) = (network.clone(), server.clone(), folder.clone());
                thread::spawn(move || network.connect(stream, server, &folder));
            }
        });
        address
    }

    fn connect(&self, near: TcpStream, (name, listens): (String, String), folder: &Path) {
        let Some(from) = near.peer_addr().ok().and_then(|peer| source(peer, folder)) else {
            // Whoever it is connects again.
            return;
        };
        let (there, back) = ((from.clone(), name.clone()), (name, from));
        self.pass(&there);
        self.pass(&back);
        // A server that is down refuses: so does the proxy, by ending the connection.
        let Ok(far) = TcpStream::connect(listens) else {
            return;
        };
        let ends = (near.try_clone(), far.try_clone());
        let (Ok(near_out), Ok(far_out)) = ends else {
            return;
        };
        // Small messages are not to wait for each other.
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let network = self.clone();
        thread::spawn(move || network.carry(far, near_out, &back));
        self.carry(near, far_out, &there);
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, way: &(String, String)) {
        let mut bytes = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            self.pass(way);
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        self.pass(way);
        // Either end may be gone already.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
}

/// Whose socket it is; `None` if nobody can say. The kernel's table may miss a line while it changes, and names a socket
/// before its process has it among its files: so a server is looked for more than once before it counts as a client.
fn source(socket: SocketAddr, folder: &Path) -> Option<String> {
    let mut strange = 0;
    for _ in 0..LOOKS_MAX {
        if let Some(inode) = inode(socket).filter(|inode| *inode != 0) {
            if let Some(server) = owner(inode, folder) {
                return Some(server);
            }
            strange += 1;
            if strange == LOOKS_MIN {
                return Some(CLIENT.to_owned());
            }
        }
        thread::sleep(LOOK_AGAIN);
    }
    None
}

/// The server of a cluster that has a socket among its files.
fn owner(inode: u64, folder: &Path) -> Option<String> {
    let file = format!("socket:[{inode}]");
    let has = |process: &PathBuf| {
        let files = fs::read_dir(process.join("fd")).ok()?;
        let links = files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok());
        links
            .into_iter()
            .any(|link| link.as_os_str() == file.as_str())
            .then_some(())
    };
    let processes = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let mut servers = processes.filter_map(|process| Some((server(&process, folder)?, process)));
    let found = servers.find(|(_, process)| has(process).is_some());
    found.map(|(name, _)| name)
}

/// The name of a process, if its data lies in a folder.
fn server(process: &Path, folder: &Path) -> Option<String> {
    let line = fs::read(process.join("cmdline")).ok()?;
    let words = line.split(|byte| *byte == 0);
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    let data = words.iter().position(|word| word == "--data-dir")?;
    let data = Path::new(words.get(data + 1)?.as_ref());
    let own = data.parent() == Some(folder);
    own.then(|| {
        data.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    })?
}

/// The inode of the local end of a connection.
fn inode(socket: SocketAddr) -> Option<u64> {
    let SocketAddr::V4(v4) = socket else {
        return None;
    };
    let address = u32::from_ne_bytes(v4.ip().octets());
    let wanted = format!("{address:08X}:{:04X}", v4.port());
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    // NUMBER: LOCAL REMOTE STATE QUEUES TIMER RETRIES UID TIMEOUT INODE …
    let mut rows = table.lines().map(|line| line.split_whitespace());
    rows.find_map(|mut row| {
        (row.nth(1)? == wanted).then_some(())?;
        row.nth(7)?.parse().ok()
    })
}
