//! A cluster of real processes, each of which a test may kill and start again.
//!
//! *Place*: the tests of this crate; the processes are the `yadkv` binary that the workspace builds.
//!
//! *Life of a cluster*: free ports → 3 PDs, 3 stores with data in a temporary folder → tests → dropped: every
//! process is killed.
//!
//! *Invariants*: only processes started here are ended, by their handle.
//!
//! *Limits and failure*: a condition that does not come true in time fails the test with the servers' logs in
//! the message.
//!
//! *Next stop*: the files in `tests/`.

pub mod certificates;
pub mod clocks;
pub mod demo;
pub mod disk;
pub mod http;
pub mod load;
pub mod network;
pub mod process;
pub mod prometheus;
pub mod recorder;
pub mod repair;
pub mod storm;

use certificates::Certificates;
use clocks::Clocks;
use disk::Disk;
use network::Network;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// Members and stores of a test cluster.
pub const NODES: usize = 3;

/// One process and how to start it again.
#[derive(Debug)]
pub struct Process {
    name: String,
    /// Where others reach it.
    address: String,
    args: Vec<String>,
    environment: Vec<(&'static str, String)>,
    log: PathBuf,
    child: Option<Child>,
}

/// Makes disks in the folder of a cluster.
pub type MakesDisks<'a> = Box<dyn FnOnce(&Path) -> Vec<Disk> + 'a>;

/// How settings of stores begin.
const FOR_STORES: &[&str] = &["store.", "region.", "tls."];
/// How settings of placement drivers begin.
const FOR_PDS: &[&str] = &["bootstrap.", "schedule.", "log.", "tls."];

/// What a cluster is made of.
#[derive(Default)]
pub struct Setup<'a> {
    /// Settings: `store` and `region` go to the stores, `bootstrap`, `schedule` and `log` to the placement drivers, `tls` to
    /// both.
    pub settings: &'a [&'a str],
    /// Whether the test may cut the network.
    pub network: bool,
    /// Whether the test may set clocks.
    pub clocks: bool,
    /// Whether everything is encrypted.
    pub tls: bool,
    /// Disks that are there before the servers.
    pub disks: Option<MakesDisks<'a>>,
}

/// Three PDs and three stores, or more.
#[derive(Debug)]
pub struct Cluster {
    /// Placement drivers.
    pub pds: Vec<Process>,
    /// Storage nodes.
    pub stores: Vec<Process>,
    /// Addresses of the placement drivers.
    pub endpoints: Vec<String>,
    /// Status addresses of the stores.
    pub status: Vec<String>,
    /// What is between the servers, if it is ours.
    pub network: Option<Network>,
    /// The servers' clocks, if they are ours.
    pub clocks: Option<Clocks>,
    /// The servers' and the clients' certificates, if they have any.
    pub certificates: Option<Certificates>,
    /// Settings of every store.
    settings: Vec<String>,
    /// Disks of single servers; dropped after the processes.
    pub disks: Vec<Disk>,
    /// Where data and logs live.
    pub folder: TempDir,
}

/// The binary under test, beside the test's own.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("invariant: a running test has a path");
    // target/PROFILE/deps/TEST, or target/PROFILE/PROGRAM.
    let mut folders = test.ancestors().skip(1).take(2);
    let binary = folders.find_map(|folder| {
        let binary = folder.join("yadkv");
        binary.exists().then_some(binary)
    });
    binary.expect("the binary: run `cargo build --workspace` first")
}

/// A setting that divides keyspace DEFAULT evenly, by the first two bytes of keys, into `regions` regions.
pub fn borders(regions: u32) -> String {
    let border = |number: u32| format!("\"hex:72000000{:04x}\"", number * 0x1_0000 / regions);
    let borders: Vec<String> = (1..regions).map(border).collect();
    format!("bootstrap.borders=[{}]", borders.join(","))
}

/// The seed of a test's choices: from `SEED`, else of the moment; it is printed with them.
pub fn seed() -> u64 {
    static CHOSEN: OnceLock<u64> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let given = std::env::var("SEED").ok();
        given.map_or_else(
            || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH);
                now.map_or(0, |now| u64::from(now.subsec_micros()))
            },
            |seed| seed.parse().expect("SEED is a number"),
        )
    })
}

/// Addresses that nobody else takes, before the first start and between a kill and the next one.
///
/// A port that was free a moment ago on 127.0.0.1 may since have become the local end of anybody's connection.
/// Connections to the loopback network start at 127.0.0.1, so each call has another address of that network for
/// itself: named after the process and the number of the call.
pub fn free_addresses(count: usize) -> Vec<String> {
    let address = |listener: &TcpListener| listener.local_addr().expect("bound").to_string();
    listeners(count).iter().map(address).collect()
}

/// Listeners at such addresses.
pub(crate) fn listeners(count: usize) -> Vec<TcpListener> {
    static CALLS: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let call = CALLS.fetch_add(1, Ordering::Relaxed) % 254 + 1;
    let host = Ipv4Addr::new(127, high.max(1), low, call);
    let bind = |_| TcpListener::bind((host, 0)).expect("a free port");
    (0..count).map(bind).collect()
}

/// Waits until `condition` gives something; panics with `what` when it does not come true.
pub fn eventually<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Process {
    /// A server of a kind that listens at the first address; others use the second one.
    fn server(
        kind: &str,
        (folder, name): (&Path, String),
        (listens, address): (&str, &str),
        pd: &str,
        settings: &[String],
    ) -> Self {
        let data = folder.join(&name).display().to_string();
        let args = [kind, "--addr", listens, "--data-dir", &data, "--pd", pd];
        let mut args: Vec<String> = args.map(str::to_owned).into();
        if listens != address {
            args.extend(["--set".into(), format!("{kind}.advertise_addr={address}")]);
        }
        for setting in settings {
            args.extend(["--set".into(), setting.clone()]);
        }
        Self {
            log: folder.join(format!("{name}.log")),
            name,
            address: address.to_owned(),
            args,
            environment: Vec::new(),
            child: None,
        }
    }

    /// Its name in the network and in logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it keeps its data.
    pub fn data(&self) -> &Path {
        // KIND --addr ADDRESS --data-dir FOLDER …
        Path::new(&self.args[4])
    }

    /// Starts it.
    pub fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .expect("a log file");
        let child = Command::new(binary())
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.child = Some(child);
    }

    /// Starts it unless it runs.
    pub fn start_again(&mut self) {
        if self.child.is_none() {
            self.start();
        }
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own process");
            child.wait().expect("our own process");
        }
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        let id = self.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(id) = id {
            kill_process(id, signal).expect("our own process");
        }
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        let ended = child.is_some_and(|child| child.try_wait().expect("our own process").is_some());
        if ended {
            self.child = None;
        }
        self.child.is_none()
    }

    /// Where others reach it.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        let id = self.child.as_ref().map(Child::id);
        id.filter(|_| !self.has_crashed())
    }

    /// Whether it was started and has ended by itself.
    fn has_crashed(&self) -> bool {
        let Some(child) = &self.child else {
            return false;
        };
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = WaitId::Pid(id.expect("invariant: ids are positive"));
        // It stays for `kill` or `wait` to collect.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(waitid(id, options), Ok(Some(_)))
    }

    /// Waits until it ends by itself; the exit code is a success or not.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let name = self.name.clone();
        let child = self.child.as_mut().expect("started");
        let ended = eventually(&format!("{name} ends"), limit, || {
            child.try_wait().expect("our own process")
        });
        self.child = None;
        ended.success()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A process that waits for a disk cannot be ended.
        self.disks.iter().for_each(Disk::let_go);
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

impl Cluster {
    /// Starts a cluster with these settings.
    pub fn start(settings: &[&str]) -> Self {
        Self::start_as(Setup {
            settings,
            ..Setup::default()
        })
    }

    /// Starts a cluster with a network that the test may cut.
    pub fn start_behind_network(settings: &[&str]) -> Self {
        Self::start_as(Setup {
            settings,
            network: true,
            ..Setup::default()
        })
    }

    /// Starts a cluster.
    pub fn start_as(setup: Setup<'_>) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let settings = setup.settings;
        let disks = setup.disks.map(|make| make(folder.path()));
        let disks = disks.unwrap_or_default();
        let network = setup.network.then(Network::default);
        let clocks = setup.clocks.then(|| Clocks::new(folder.path()));
        let addresses = free_addresses(3 * NODES);
        let of = |kinds: &[&str]| -> Vec<String> {
            let wanted = |setting: &&&str| kinds.iter().any(|kind| setting.starts_with(kind));
            settings
                .iter()
                .filter(wanted)
                .map(ToString::to_string)
                .collect()
        };
        let mut cluster = Self {
            pds: Vec::new(),
            stores: Vec::new(),
            endpoints: Vec::new(),
            status: Vec::new(),
            network,
            clocks,
            certificates: None,
            settings: of(FOR_STORES),
            disks,
            folder,
        };
        for (number, listens) in addresses[..NODES].iter().enumerate() {
            let address = cluster.reached(&format!("pd-{number}"), listens);
            cluster.endpoints.push(address);
        }
        let (pd, mut pd_settings) = (cluster.pd(), of(FOR_PDS));
        let all = of(&[FOR_STORES, FOR_PDS].concat());
        assert_eq!(
            all.len(),
            settings.len(),
            "settings of nobody: {settings:?}"
        );
        if setup.tls {
            let host = |address: &String| address.rsplit_once(':').map(|(host, _)| host.to_owned());
            let hosts = addresses.iter().filter_map(host).take(1).collect();
            let certificates = Certificates::new(cluster.folder.path().join("tls"), hosts);
            cluster.settings.extend(certificates.settings());
            pd_settings.extend(certificates.settings());
            cluster.certificates = Some(certificates);
        }
        for (number, listens) in addresses[..NODES].iter().enumerate() {
            let place = (cluster.folder.path(), format!("pd-{number}"));
            let at = (listens.as_str(), cluster.endpoints[number].as_str());
            let mut member = Process::server("pd", place, at, &pd, &pd_settings);
            member.environment = cluster.environment(&member);
            member.start();
            cluster.pds.push(member);
        }
        for number in 0..NODES {
            cluster.place_store(&addresses[NODES + number], &addresses[2 * NODES + number]);
        }
        cluster.wait_until_ready();
        cluster
    }

    /// The address that others use for a server.
    fn reached(&self, name: &str, listens: &str) -> String {
        let network = self.network.as_ref();
        network.map_or(listens.to_owned(), |network| {
            network.stand_before(name, listens, self.folder.path())
        })
    }

    /// Starts one more store; its place in `stores`.
    pub fn add_store(&mut self) -> usize {
        let addresses = free_addresses(2);
        self.place_store(&addresses[0], &addresses[1]);
        self.stores.len() - 1
    }

    fn place_store(&mut self, listens: &str, status: &str) {
        let mut settings = vec![
            format!("store.status_addr={status}"),
            "store.memory=128MiB".into(),
        ];
        settings.extend(self.settings.iter().cloned());
        let name = format!("store-{}", self.stores.len());
        let address = self.reached(&name, listens);
        let place = (self.folder.path(), name);
        let at = (listens, address.as_str());
        let mut store = Process::server("store", place, at, &self.pd(), &settings);
        store.environment = self.environment(&store);
        store.start();
        self.stores.push(store);
        self.status.push(status.to_owned());
    }

    fn environment(&self, process: &Process) -> Vec<(&'static str, String)> {
        let clocks = self.clocks.as_ref();
        clocks.map_or(Vec::new(), |clocks| clocks.environment(&process.name))
    }

    /// All servers: placement drivers first.
    pub fn servers(&mut self) -> Vec<&mut Process> {
        self.pds.iter_mut().chain(&mut self.stores).collect()
    }

    /// Panics if a server has ended by itself, or said that it panicked.
    pub fn nobody_crashed(&self) {
        for server in self.pds.iter().chain(&self.stores) {
            let fine = !server.has_crashed() && !server.log().contains("panicked at");
            assert!(fine, "{} has crashed: see its log", server.name);
        }
    }

    /// Their names, in the same order.
    pub fn names(&self) -> Vec<String> {
        let servers = self.pds.iter().chain(&self.stores);
        servers.map(|server| server.name.clone()).collect()
    }

    /// What `ctl --json` prints, one object a line; none if it fails.
    pub fn rows(&self, args: &[&str]) -> Option<Vec<Value>> {
        let pd = self.pd();
        let output = self.yadkv(&[&["ctl", "--json", "--pd", &pd], args].concat());
        let text = String::from_utf8(output.stdout).ok()?;
        let rows = text.lines().map(|line| serde_json::from_str(line).ok());
        output.status.success().then(|| rows.collect())?
    }

    /// The `--pd` list.
    pub fn pd(&self) -> String {
        self.endpoints.join(",")
    }

    /// Runs `yadkv` with these arguments to its end.
    pub fn yadkv(&self, args: &[&str]) -> Output {
        Command::new(binary())
            .args(args)
            .env("YADKV_LOG", "error")
            .envs(self.certificates_of_commands())
            .output()
            .expect("the binary starts")
    }

    fn certificates_of_commands(&self) -> Vec<(&'static str, PathBuf)> {
        let certificates = self.certificates.as_ref();
        certificates.map_or(Vec::new(), Certificates::environment)
    }

    /// Whether `yadkv` with these arguments succeeds within a time; it is ended if it takes longer.
    pub fn succeeds_within(&self, args: &[&str], limit: Duration) -> bool {
        let mut command = Command::new(binary());
        command.args(args).env("YADKV_LOG", "error");
        command.envs(self.certificates_of_commands());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().expect("our own process") {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().expect("our own process");
        child.wait().expect("our own process");
        false
    }

    /// Standard output of a command that must succeed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.yadkv(args);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{args:?}: {errors}\n{}",
            self.logs()
        );
        String::from_utf8(output.stdout).expect("escaped text")
    }

    /// The end of every log, for messages.
    pub fn logs(&self) -> String {
        let tail = |process: &Process| {
            let log = process.log();
            let from = log.len().saturating_sub(1500);
            let tail: String = log.chars().skip(from).collect();
            format!("--- {}\n{tail}", process.name)
        };
        self.pds
            .iter()
            .chain(&self.stores)
            .map(tail)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// Waits until every region has a leader and every store leads its share, more or less.
    pub fn wait_until_leaders_are_spread(&self) {
        let pd = self.pd();
        let patience = Duration::from_secs(90);
        eventually("leaders are spread over the stores", patience, || {
            let output = self.yadkv(&["ctl", "--pd", &pd, "region", "--json"]);
            let text = String::from_utf8(output.stdout).ok()?;
            let mut led: BTreeMap<u64, usize> = BTreeMap::new();
            for line in text.lines() {
                let region: Value = serde_json::from_str(line).ok()?;
                *led.entry(region["leader"]["store_id"].as_u64()?)
                    .or_default() += 1;
            }
            let share = text.lines().count() / NODES;
            let spread = led.len() == NODES && led.values().all(|count| 4 * count >= 3 * share);
            spread.then_some(())
        });
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let pd = self.pd();
        while !self
            .yadkv(&["raw", "--pd", &pd, "put", "ready", "1"])
            .status
            .success()
        {
            assert!(
                Instant::now() < deadline,
                "the cluster does not become ready\n{}",
                self.logs()
            );
        }
        // Orders for a region that has not reported are refused.
        eventually("every region is led", Duration::from_secs(60), || {
            let output = self.yadkv(&["ctl", "--pd", &pd, "region", "--json"]);
            let text = String::from_utf8(output.stdout).ok()?;
            let led = |line: &str| {
                let region: Value = serde_json::from_str(line).ok()?;
                region["leader"]["store_id"].as_u64().filter(|id| *id > 0)
            };
            let all = !text.is_empty() && text.lines().all(|line| led(line).is_some());
            all.then_some(())
        });
    }
}
