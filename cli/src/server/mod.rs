//! The commands that run a server until they are told to stop.
//!
//! *Place*: operators and the playground start them.
//!
//! *Life of a server*: settings → bind → run → SIGINT or SIGTERM → it hands over what it leads, answers what is under
//! way and stops. When (playground) its standard input ends it hands nothing over: the others stop as well. A second
//! signal ends the process at once.
//!
//! *Next stop*: [`store`].

mod certificates;
pub(crate) mod pages;
pub(crate) mod pd;
pub(crate) mod playground;
pub(crate) mod ports;
mod profile;
mod scheduling;
pub(crate) mod store;

use crate::failure::{Context, Outcome};
use crate::tls::TlsArgs;
use clap::Args;
use std::path::PathBuf;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit code after a second signal, as shells report SIGINT.
const INTERRUPTED: i32 = 130;

/// Flags of both servers.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// TOML file with settings; see --print-default-config.
    #[arg(long)]
    pub(crate) config: Option<PathBuf>,
    /// Address to listen on, host:port; port 0 lets the system choose.
    #[arg(long)]
    pub(crate) addr: Option<String>,
    /// Where data lives.
    #[arg(long)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Placement drivers, comma separated.
    #[arg(long)]
    pub(crate) pd: Option<String>,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
    /// A setting, for example store.memory=256MiB; may be repeated, the last one wins.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Print all settings with their defaults and exit.
    #[arg(long)]
    pub(crate) print_default_config: bool,
    /// Stop when standard input ends: how a playground's children notice that it is gone.
    #[arg(long, hide = true)]
    pub(crate) stop_with_stdin: bool,
}

/// Binds, with an error that names address and remedy.
pub(crate) async fn bind(address: &str) -> Outcome<TcpListener> {
    TcpListener::bind(address).await.context(format!(
        "cannot listen on {address} (is it in use? choose another --addr)"
    ))
}

/// How a server is told to stop.
pub(crate) struct Shutdown {
    /// Fires at the first signal: let go of what others can do.
    pub(crate) leave: CancellationToken,
    /// Fires when standard input ends: there are no others.
    pub(crate) stop: CancellationToken,
}

/// Listens to signals, and if it is told to, to standard input.
pub(crate) fn shutdown(stop_with_stdin: bool) -> Outcome<Shutdown> {
    let shutdown = Shutdown {
        leave: CancellationToken::new(),
        stop: CancellationToken::new(),
    };
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let (leave, stop) = (shutdown.leave.clone(), shutdown.stop.clone());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                () = end_of_stdin(), if stop_with_stdin && !stop.is_cancelled() => {
                    stop.cancel();
                    continue;
                }
            }
            if leave.is_cancelled() {
                std::process::exit(INTERRUPTED);
            }
            leave.cancel();
        }
    });
    Ok(shutdown)
}

async fn end_of_stdin() {
    let mut byte = [0];
    // An error is an end as well.
    while tokio::io::stdin()
        .read(&mut byte)
        .await
        .is_ok_and(|read| read > 0)
    {}
}
