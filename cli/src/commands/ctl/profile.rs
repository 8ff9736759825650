//! `yadkv ctl profile`: where a server's time goes, or what it allocates and keeps.
//!
//! *Limits and failure*: one server at a time, which has to be near: the command runs on its machine, or the server was told
//! that others may.
//!
//! *Next stop*: `cli/src/server/profile`.

use super::servers::{Whom, servers};
use crate::commands::Servers;
use crate::commands::http::fetch;
use crate::failure::{Context, Failure, Outcome};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// What a server takes to write a profile down, at most.
const WRITE_MAX: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum What {
    /// Processor time.
    Cpu,
    /// What is allocated meanwhile and still in use at the end.
    Heap,
}

#[derive(Args, Debug)]
pub(super) struct ProfileArgs {
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    whom: Whom,
    /// For how long, 1 to 60.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Samples a second of processor time, 1 to 1000.
    #[arg(long, default_value_t = 99)]
    frequency: u64,
    /// A flame graph (SVG) instead of a profile for pprof; processor time only.
    #[arg(long)]
    svg: bool,
    /// The file that is written.
    #[arg(long, short)]
    output: PathBuf,
}

pub(super) async fn run(pd: &Servers, args: &ProfileArgs) -> Outcome<Vec<Value>> {
    if args.whom.only().is_none() {
        let reason = "whose profile? Name one server with --store ID or --member ID";
        return Err(Failure(reason.into()));
    }
    if args.svg && args.what == What::Heap {
        let reason = "--svg: of processor time only; pprof draws what a heap profile holds";
        return Err(Failure(reason.into()));
    }
    let Some(server) = servers(pd, &args.whom).await?.pop() else {
        return Ok(Vec::new());
    };
    let name = server.name();
    let address = server.address.map_err(Failure).context(&name)?;
    let path = match (args.what, args.svg) {
        (What::Heap, _) => format!("/debug/pprof/heap?seconds={}", args.seconds),
        (What::Cpu, svg) => format!(
            "/debug/pprof/profile?seconds={}&frequency={}&format={}",
            args.seconds,
            args.frequency,
            if svg { "svg" } else { "pprof" }
        ),
    };
    let limit = Duration::from_secs(args.seconds).saturating_add(WRITE_MAX);
    let profile = fetch(&pd.at(&address), &path, limit).await.context(&name)?;
    std::fs::write(&args.output, &profile).context(args.output.display())?;
    Ok(vec![json!({
        "server": name,
        "file": args.output.display().to_string(),
        "bytes": profile.len(),
    })])
}
