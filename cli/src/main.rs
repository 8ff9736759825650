//! `yadkv`: the one binary.
//!
//! *Place*: people and scripts call it; it calls the servers and the SDK.
//!
//! *Invariants*: exit code 0 only on success; errors are one line on standard error that says what happened,
//! where, and what to do.
//!
//! *Next stop*: [`server`] for what runs, [`commands`] for what asks.

mod commands;
mod failure;
mod output;
mod server;
mod settings;
mod text;
mod tls;

use clap::{CommandFactory, Parser, Subcommand};
use failure::Outcome;
use server::pages::LogFilter;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by the allocator before anything else runs. The environment (`MALLOC_CONF`) goes before it.
///
/// - Large pages where the kernel gives some (`thp`): searches in memtables and caches are all over the memory, and in a virtual
///   machine the way to a small page takes as long as the page (`benches/EXPERIMENTS.md`).
/// - It is able to sample, and does not, since only with `prof:true` from the start it may later. Measured, processor time of
///   an allocation and its release: 8 ns by an allocator that was built without profiles, 12 with them, whatever is set, 18
///   while it samples.
#[allow(unsafe_code)]
// An exported name, which jemalloc reads if it is there; on Linux, where it stands behind `malloc`.
#[unsafe(export_name = "malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 57] =
    b"thp:always,prof:true,prof_active:false,lg_prof_sample:19\0";

/// A distributed key-value store that speaks TiKV's protocol.
#[derive(Parser)]
#[command(name = "yadkv", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a placement driver.
    Pd(server::ServerArgs),
    /// Run a storage node.
    Store(server::ServerArgs),
    /// Run a whole cluster on this machine, each part a process of its own; Ctrl-C stops it.
    Playground(server::playground::PlaygroundArgs),
    /// Read and write raw keys.
    Raw(commands::raw::RawArgs),
    /// Look at a running cluster.
    Ctl(commands::ctl::CtlArgs),
    /// Measure throughput and latency, of yadkv and of others.
    Bench(commands::bench::BenchArgs),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("YADKV_LOG")
        .unwrap_or_else(|_| "info,tikv_client=warn".into());
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_filter_reloading();
    let log = LogFilter::new(subscriber.reload_handle());
    subscriber.init();
    abort_on_panic();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Pd(_) | Command::Store(_)) {
        runtime.worker_threads(network_threads());
    }
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("yadkv: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(cli.command, log));
    // A thread may still wait for standard input.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("yadkv: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Threads of a server for connections: half the cores, the other half for its workers, apply and reads. One for
/// each core woke more threads than there was work for: on 2 cores 3 stores took 2–25 % fewer puts.
fn network_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).max(1)
}

/// A broken invariant ends the whole process: a server whose worker is gone must not keep its connections.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn run(command: Command, log: LogFilter) -> Outcome {
    match command {
        Command::Pd(args) => server::pd::run(args, log).await,
        Command::Store(args) => server::store::run(args, log).await,
        Command::Playground(args) => server::playground::run(args).await,
        Command::Raw(args) => commands::raw::run(args).await,
        Command::Ctl(args) => commands::ctl::run(args).await,
        Command::Bench(args) => commands::bench::run(args).await,
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "yadkv", &mut std::io::stdout());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
