//! `yadkv store`: one storage node.
//!
//! *Next stop*: `yadkv_storage_node::node`.

use super::{ServerArgs, bind, shutdown};
use crate::failure::{Context, Outcome};
use crate::output::say;
use crate::settings;
use yadkv_storage_node::config::Config;
use yadkv_storage_node::node;

/// Runs a storage node.
pub(crate) async fn run(args: ServerArgs) -> Outcome {
    if args.print_default_config {
        let settings = toml::to_string_pretty(&Config::default()).context("default settings")?;
        return say(settings.trim_end());
    }
    let config = config(&args)?;
    config.validate().context("settings")?;
    let listener = bind(&config.store.addr).await?;
    let status = match config.store.status_addr.as_str() {
        "" => None,
        address => Some(bind(address).await?),
    };
    let token = shutdown(args.stop_with_stdin)?;
    let data_dir = config.store.data_dir.clone();
    node::run(config, listener, status, token)
        .await
        .context(format!("store at {}", data_dir.display()))
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
    Ok(config)
}
