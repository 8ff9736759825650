//! `yadkv playground`: a whole cluster on this machine, each part a process of its own.
//!
//! *Life of a playground*: choose ports → start PDs and stores (their output goes to `NAME.log` beside their
//! data) → wait until every region has a leader and a read succeeds → print `ready: pd=…` → until Ctrl-C:
//! report children that end; the others go on → stop all.
//!
//! *Invariants*: children stay in this process group and stop when it is gone (their standard input ends).
//!
//! *Limits and failure*: without --data-dir everything lives in a temporary folder that is removed at the end,
//! unless the cluster does not become ready. One that is dropped before it was stopped is killed.
//!
//! *Next stop*: [`super::pd`], [`super::store`].

use super::certificates::Certificates;
use super::ports::Ports;
use super::shutdown;
use crate::commands::Servers;
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use crate::settings;
use clap::Args;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use yadkv_client::Api;
use yadkv_storage_node::config::Config;

/// How long a cluster may take to become ready.
const READY_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How long children may take to stop before they are killed.
const STOP_MAX: Duration = Duration::from_secs(10);
/// Memory of each store.
const STORE_MEMORY: &str = "store.memory=256MiB";

/// Flags of the playground.
#[derive(Args, Debug)]
pub(crate) struct PlaygroundArgs {
    /// Placement drivers.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=7))]
    pub(crate) pd: u16,
    /// Storage nodes.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=30))]
    pub(crate) stores: u16,
    /// Where data lives; a temporary folder if not given.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// First port of the placement drivers, stores follow 100 above; 0 lets the system choose.
    #[arg(long)]
    pub(crate) port_base: Option<u16>,
    /// Encrypt everything, with certificates of a CA of its own, which are kept beside the data.
    #[arg(long)]
    pub(crate) tls: bool,
    /// A setting: schedule.*, bootstrap.* and log.* reach the placement drivers, region.* and store.* the stores, tls.* all.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// A running cluster.
pub(crate) struct Playground {
    children: Vec<(String, Child)>,
    /// Its placement drivers.
    pub(crate) pd: Servers,
    certificates: Option<Certificates>,
    stores: u16,
    root: PathBuf,
    temporary: Option<TempDir>,
}

/// Runs a cluster until Ctrl-C.
pub(crate) async fn run(args: PlaygroundArgs) -> Outcome {
    let token = shutdown(false)?.leave;
    let mut playground = Playground::start(&args)?;
    tokio::select! {
        ready = playground.wait_until_ready() => if let Err(failure) = ready {
            playground.stop().await;
            return Err(failure);
        },
        () = token.cancelled() => {
            playground.stop().await;
            return Ok(());
        }
    }
    let pd = &playground.pd.addresses;
    say(format_args!("ready: pd={pd}"))?;
    let usage = playground.certificates.as_ref();
    let usage = usage.map(|certificates| certificates.usage(pd));
    usage.iter().flatten().try_for_each(say)?;
    loop {
        tokio::select! {
            () = token.cancelled() => break,
            () = tokio::time::sleep(POLL) => playground.report_ended(),
        }
    }
    playground.stop().await;
    Ok(())
}

impl Playground {
    /// Starts all processes.
    pub(crate) fn start(args: &PlaygroundArgs) -> Outcome<Self> {
        let ports = Ports::choose(args.port_base, args.pd, args.stores)?;
        let temporary = match &args.data_dir {
            Some(_) => None,
            None => Some(TempDir::new().context("temporary folder")?),
        };
        let root = match (&args.data_dir, &temporary) {
            (Some(directory), _) => directory.clone(),
            (None, Some(temporary)) => temporary.path().to_path_buf(),
            (None, None) => PathBuf::from("."),
        };
        let (pd_settings, store_settings) = divide(&args.set)?;
        let certificates = match args.tls {
            true => Some(Certificates::prepare(&root.join("tls"))?),
            false => None,
        };
        let client = certificates.as_ref().map(|both| both.client.clone());
        let mut playground = Self {
            children: Vec::new(),
            pd: Servers::new(&ports.pds.join(","), client)?,
            certificates,
            stores: args.stores,
            root: root.clone(),
            temporary,
        };
        for (number, address) in ports.pds.iter().enumerate() {
            let name = format!("pd-{number}");
            let mut settings = vec![format!("bootstrap.stores={}", args.stores.min(3))];
            settings.extend(pd_settings.iter().cloned());
            playground.spawn("pd", &name, &root, address, &settings)?;
        }
        for (number, (address, status)) in ports.stores.iter().enumerate() {
            let name = format!("store-{number}");
            let mut settings = vec![
                STORE_MEMORY.to_string(),
                format!("store.status_addr={status}"),
            ];
            settings.extend(store_settings.iter().cloned());
            playground.spawn("store", &name, &root, address, &settings)?;
        }
        Ok(playground)
    }

    fn spawn(
        &mut self,
        kind: &str,
        name: &str,
        root: &Path,
        address: &str,
        settings: &[String],
    ) -> Outcome {
        fs::create_dir_all(root).context(root.display())?;
        let log_path = root.join(format!("{name}.log"));
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log_path)
            .context(log_path.display())?;
        let program = std::env::current_exe().context("this program's path")?;
        let mut command = Command::new(program);
        command
            .arg(kind)
            .arg("--addr")
            .arg(address)
            .arg("--data-dir")
            .arg(root.join(name));
        let pd = &self.pd.addresses;
        command.arg("--pd").arg(pd).arg("--stop-with-stdin");
        let server = self.certificates.as_ref().map(|both| &both.server);
        if let Some(files) = server {
            command.arg("--tls-ca").arg(&files.ca);
            if let Some((cert, key)) = &files.identity {
                command.arg("--tls-cert").arg(cert);
                command.arg("--tls-key").arg(key);
            }
        }
        for setting in settings {
            command.arg("--set").arg(setting);
        }
        command
            .stdin(Stdio::piped())
            .stdout(log.try_clone().context(log_path.display())?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().context(name)?;
        self.children.push((name.into(), child));
        Ok(())
    }

    /// Waits until every region has a leader and a read succeeds. On failure the logs stay, and are named.
    pub(crate) async fn wait_until_ready(&mut self) -> Outcome {
        let ready = self.poll_until_ready().await;
        ready.map_err(|failure| {
            self.temporary.take().map(TempDir::keep);
            Failure(format!("{failure}; logs: {}/*.log", self.root.display()))
        })
    }

    async fn poll_until_ready(&mut self) -> Outcome {
        let deadline = Instant::now() + READY_MAX;
        loop {
            if let Some((name, status)) = self.first_ended() {
                return Err(Failure(format!("{name} ended ({status})")));
            }
            match tokio::time::timeout(READY_MAX, self.is_ready()).await {
                Ok(Ok(true)) => return Ok(()),
                Ok(Err(failure)) if Instant::now() >= deadline => return Err(failure),
                _ if Instant::now() >= deadline => {
                    return Err(Failure(format!(
                        "the cluster is not ready after {READY_MAX:?}"
                    )));
                }
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }

    async fn is_ready(&self) -> Outcome<bool> {
        let client = self.pd.connect(Api::default()).await?;
        let admin = client.admin();
        let stores = admin.stores(false).await.context("stores")?;
        if stores.len() < usize::from(self.stores) {
            return Ok(false);
        }
        let regions = admin.regions("", u32::MAX).await.context("regions")?;
        if regions.is_empty()
            || regions
                .iter()
                .any(|region| region.leader.is_none_or(|leader| leader.id == 0))
        {
            return Ok(false);
        }
        client.raw().get("ready").await.context("first read")?;
        Ok(true)
    }

    /// Its processes that run.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let children = self.children.iter();
        children.filter_map(|(_, child)| child.id()).collect()
    }

    fn first_ended(&mut self) -> Option<(String, std::process::ExitStatus)> {
        self.children
            .iter_mut()
            .find_map(|(name, child)| match child.try_wait() {
                Ok(Some(status)) => Some((name.clone(), status)),
                _ => None,
            })
    }

    /// Says which children have ended since the last call.
    fn report_ended(&mut self) {
        while let Some((name, status)) = self.first_ended() {
            eprintln!("yadkv: {name} ended: {status}");
            self.children.retain(|(other, _)| *other != name);
        }
    }

    /// Stops all children, by the end of their standard input; kills what does not stop.
    pub(crate) async fn stop(&mut self) {
        for (_, child) in &mut self.children {
            drop(child.stdin.take());
        }
        let deadline = Instant::now() + STOP_MAX;
        for (name, child) in &mut self.children {
            let left = deadline.saturating_duration_since(Instant::now());
            if tokio::time::timeout(left, child.wait()).await.is_err() {
                eprintln!("yadkv: {name} did not stop in time: killed");
                // It may have ended by itself in between.
                let _ = child.kill().await;
            }
        }
    }
}

impl Drop for Playground {
    /// Kills what was not stopped, and waits for its end: nothing may write any more into a folder that is being removed.
    fn drop(&mut self) {
        for (_, child) in &mut self.children {
            // It may have ended by itself.
            let _ = child.start_kill();
        }
        let deadline = Instant::now() + STOP_MAX;
        let runs = |(_, child): &mut (String, Child)| matches!(child.try_wait(), Ok(None));
        while self.children.iter_mut().any(runs) && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }
}

/// What the stores of a playground with these settings are told, but for addresses.
pub(crate) fn store_config(set: &[String]) -> Outcome<Config> {
    let (_, of_stores) = divide(set)?;
    let settings = [vec![STORE_MEMORY.to_string()], of_stores].concat();
    let table = settings::table(None, &settings)?;
    let config: Config = table.try_into().context("settings")?;
    config.validate().context("settings")?;
    Ok(config)
}

/// Settings of the placement drivers and of the stores.
fn divide(set: &[String]) -> Outcome<(Vec<String>, Vec<String>)> {
    let (mut pd, mut store) = (Vec::new(), Vec::new());
    for one in set {
        let (name, _) = settings::split(one)?;
        match name.split('.').next() {
            Some("schedule" | "bootstrap" | "log") => pd.push(one.clone()),
            Some("region" | "store") => store.push(one.clone()),
            Some("tls") => {
                pd.push(one.clone());
                store.push(one.clone());
            }
            _ => {
                return Err(Failure(format!(
                    "--set {one}: unknown section; use schedule.*, bootstrap.*, log.*, region.*, store.* or tls.*"
                )));
            }
        }
    }
    Ok((pd, store))
}
