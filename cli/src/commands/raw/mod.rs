//! `yadkv raw`: read and write raw keys.
//!
//! *Invariants*: keys and values are text with escapes ([`crate::text`]); a scan prints `KEY<TAB>VALUE` lines; a
//! key that is not there ends with exit code 1.
//!
//! *Next stop*: [`import`].

mod export;
mod import;
mod tsv;

use super::Servers;
use crate::failure::{Context, Failure, Outcome};
use crate::output::{say, still_read};
use crate::text::{escape, unescape};
use crate::tls::TlsArgs;
use clap::{Args, Subcommand, ValueEnum};
use futures::StreamExt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use yadkv_client::Api;
use yadkv_client::RawClient;
use yadkv_client::raw::{ScanOptions, Ttl};

/// Flags of every raw command.
#[derive(Args, Debug)]
pub(crate) struct RawArgs {
    /// Placement drivers, comma separated.
    #[arg(long, default_value = "127.0.0.1:2379")]
    pd: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// Key space.
    #[arg(long, value_enum, default_value = "v2")]
    api: ApiVersion,
    #[command(subcommand)]
    command: RawCommand,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ApiVersion {
    /// Keys as they are, shared with other V1 clients.
    V1,
    /// Keyspace DEFAULT of API V2.
    V2,
}

#[derive(Debug, Subcommand)]
enum RawCommand {
    /// Print the value of a key.
    Get { key: String },
    /// Set a key.
    Put {
        key: String,
        value: String,
        /// Seconds until it expires; 0 never.
        #[arg(long, default_value_t = 0)]
        ttl: u64,
    },
    /// Remove a key.
    Delete { key: String },
    /// Print the pairs with START <= key < END.
    Scan {
        #[arg(default_value = "")]
        start: String,
        #[arg(default_value = "")]
        end: String,
        /// At most this many.
        #[arg(long)]
        limit: Option<usize>,
        /// From the end.
        #[arg(long)]
        reverse: bool,
        /// Without values.
        #[arg(long)]
        keys_only: bool,
    },
    /// Set a key to NEW if it is OLD now.
    Cas {
        key: String,
        /// What is expected; --absent expects no value.
        old: String,
        new: String,
        /// Expect that the key is not there; OLD is ignored.
        #[arg(long)]
        absent: bool,
    },
    /// Print the seconds that a key has left.
    Ttl { key: String },
    /// Remove the keys with START <= key < END.
    DeleteRange { start: String, end: String },
    /// Print checksum, number and bytes of all pairs.
    Checksum,
    /// Put the records of a file, one a line: key, tab, value. Interrupted, the same command goes on where it was.
    Import {
        /// `-` is standard input.
        file: PathBuf,
    },
    /// Print the pairs with START <= key < END as lines: key, tab, value. While others write it is not of one moment.
    Export {
        #[arg(default_value = "")]
        start: String,
        #[arg(default_value = "")]
        end: String,
        /// Into this file; one that an export has begun is gone on with.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

impl From<ApiVersion> for Api {
    fn from(version: ApiVersion) -> Self {
        match version {
            ApiVersion::V1 => Self::V1,
            ApiVersion::V2 => Self::default(),
        }
    }
}

/// Runs one command.
pub(crate) async fn run(args: RawArgs) -> Outcome {
    let pd = Servers::new(&args.pd, args.tls.files()?)?;
    let client = pd.connect(args.api.into()).await?;
    let raw = client.raw();
    match args.command {
        RawCommand::Get { key } => {
            let value = raw
                .get(unescape(&key)?)
                .await
                .context(&key)?
                .ok_or_else(|| not_found(&key))?;
            say(escape(&value))?;
        }
        RawCommand::Put { key, value, ttl } => {
            let ttl = Duration::from_secs(ttl);
            raw.put_with_ttl(unescape(&key)?, unescape(&value)?, ttl)
                .await
                .context(&key)?;
        }
        RawCommand::Delete { key } => raw.delete(unescape(&key)?).await.context(&key)?,
        RawCommand::Scan {
            start,
            end,
            limit,
            reverse,
            keys_only,
        } => {
            let options = ScanOptions {
                limit,
                reverse,
                keys_only,
            };
            scan(&raw, unescape(&start)?, unescape(&end)?, options).await?;
        }
        RawCommand::Cas {
            key,
            old,
            new,
            absent,
        } => {
            let old = if absent { None } else { Some(old) };
            cas(&raw, &key, old.as_deref(), &new).await?;
        }
        RawCommand::Ttl { key } => say(ttl_s(&raw, &key).await?)?,
        RawCommand::DeleteRange { start, end } => {
            raw.delete_range(unescape(&start)?, unescape(&end)?)
                .await
                .context("delete-range")?;
        }
        RawCommand::Import { file } => {
            let name = format!("cluster {}, API {:?}", client.cluster_id(), args.api);
            import::run(import::Target { raw, name }, &file).await?;
        }
        RawCommand::Export { start, end, out } => {
            let range = (unescape(&start)?, unescape(&end)?);
            export::run(&raw, range, out.as_deref()).await?;
        }
        RawCommand::Checksum => {
            let sum = raw.checksum("", "").await.context("checksum")?;
            say(format_args!(
                "{:016x}\t{}\t{}",
                sum.checksum, sum.total_kvs, sum.total_bytes
            ))?;
        }
    }
    Ok(())
}

async fn cas(raw: &RawClient, key: &str, old: Option<&str>, new: &str) -> Outcome {
    let old = old.map(unescape).transpose()?.map(Into::into);
    let swap = raw
        .compare_and_swap(unescape(key)?, old, unescape(new)?)
        .await
        .context(key)?;
    if swap.swapped {
        return Ok(());
    }
    let present = swap
        .previous
        .map_or("no value".into(), |value| escape(&value));
    Err(Failure(format!(
        "{key}: not swapped, the key has {present}"
    )))
}

/// Seconds left; 0 without expiry.
async fn ttl_s(raw: &RawClient, key: &str) -> Outcome<u64> {
    match raw.ttl(unescape(key)?).await.context(key)? {
        None => Err(not_found(key)),
        Some(Ttl::Forever) => Ok(0),
        Some(Ttl::Left(left)) => Ok(left.as_secs()),
    }
}

async fn scan(raw: &RawClient, start: Vec<u8>, end: Vec<u8>, options: ScanOptions) -> Outcome {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let keys_only = options.keys_only;
    let mut pairs = std::pin::pin!(raw.scan(start, end, options));
    while let Some(pair) = pairs.next().await {
        let pair = pair.context("scan")?;
        let written = if keys_only {
            writeln!(out, "{}", escape(&pair.key))
        } else {
            writeln!(out, "{}\t{}", escape(&pair.key), escape(&pair.value))
        };
        if !still_read(written)? {
            return Ok(());
        }
    }
    still_read(out.flush()).map(|_| ())
}

fn not_found(key: &str) -> Failure {
    Failure(format!("{key}: not found"))
}
