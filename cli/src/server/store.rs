//! `yadkv store`: one storage node. One whose data files are damaged, or whose disk was full, starts itself again,
//! with the same process id.
//!
//! *Next stop*: `yadkv_storage_node::node`.

use super::pages::{LogFilter, pages};
use super::{ServerArgs, bind, scheduling, shutdown};
use crate::failure::{Context, Outcome};
use crate::output::say;
use crate::settings;
use std::os::unix::process::CommandExt;
use std::process::Command;
use yadkv_storage_node::config::Config;
use yadkv_storage_node::disk::wait_for_room;
use yadkv_storage_node::node::{self, NodeError};
use yadkv_storage_node::online;

/// Counts how often a process has started itself again.
const RESTARTS: &str = "YADKV_RESTARTS";
/// More often there is something else wrong.
const RESTARTS_MAX: u32 = 8;

/// Runs a storage node.
pub(crate) async fn run(args: ServerArgs, log: LogFilter) -> Outcome {
    if args.print_default_config {
        let settings = toml::to_string_pretty(&Config::default()).context("default settings")?;
        return say(settings.trim_end());
    }
    let config = config(&args)?;
    config.validate().context("settings")?;
    if config.store.batch_threads
        && let Err(error) = scheduling::batch()
    {
        tracing::warn!(%error, "not all of the store's threads are of the kernel's batch kind");
    }
    let listener = bind(&config.store.addr).await?;
    let status = match config.store.status_addr.as_str() {
        "" => None,
        address => Some(bind(address).await?),
    };
    let told = shutdown(args.stop_with_stdin)?;
    let data_dir = config.store.data_dir.clone();
    let pages = pages(log, online::near(&config));
    let ended = node::run(
        config,
        listener,
        status.map(|status| (status, pages)),
        (told.leave.clone(), told.stop.clone()),
    )
    .await;
    match ended {
        Err(NodeError::Damaged(reason)) if restarts() < RESTARTS_MAX => {
            eprintln!(
                "yadkv: {reason}: the store starts again, to give replicas with damaged data away"
            );
            Err(restart(restarts() + 1)).context(format!("store at {}", data_dir.display()))
        }
        Err(NodeError::Full(reason)) => {
            eprintln!(
                "yadkv: {reason}: the store waits for room at {}",
                data_dir.display()
            );
            let stopped = async {
                tokio::select! {
                    () = told.leave.cancelled() => {}
                    () = told.stop.cancelled() => {}
                }
            };
            tokio::select! {
                () = wait_for_room(&data_dir) => {}
                () = stopped => return Ok(()),
            }
            eprintln!("yadkv: there is room again: the store starts again");
            Err(restart(restarts())).context(format!("store at {}", data_dir.display()))
        }
        ended => ended.context(format!("store at {}", data_dir.display())),
    }
}

/// How often this process has started itself again.
fn restarts() -> u32 {
    let count = std::env::var(RESTARTS).ok();
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Becomes the same program anew; comes back only if that is impossible.
fn restart(count: u32) -> std::io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(RESTARTS, count.to_string())
        .exec()
}

fn config(args: &ServerArgs) -> Outcome<Config> {
    let table = settings::table(args.config.as_deref(), &args.set)?;
    let mut config: Config = table.try_into().context("settings")?;
    if let Some(addr) = &args.addr {
        config.store.addr.clone_from(addr);
    }
    if let Some(data_dir) = &args.data_dir {
        config.store.data_dir.clone_from(data_dir);
    }
    if let Some(pd) = &args.pd {
        config.store.pd = pd
            .split(',')
            .map(|address| address.trim().to_string())
            .collect();
    }
    args.tls.set(&mut config.tls);
    Ok(config)
}
