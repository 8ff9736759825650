//! `yadkv pd`: one placement driver.
//!
//! *Next stop*: `yadkv_placement_driver::node`.

use super::pages::{LogFilter, pages};
use super::{ServerArgs, bind, shutdown};
use crate::failure::{Context, Outcome};
use crate::output::say;
use crate::settings;
use yadkv_placement_driver::config::Config;
use yadkv_placement_driver::{node, online};

/// Runs a placement driver.
pub(crate) async fn run(args: ServerArgs, log: LogFilter) -> Outcome {
    if args.print_default_config {
        let settings = toml::to_string_pretty(&Config::default()).context("default settings")?;
        return say(settings.trim_end());
    }
    let config = config(&args)?;
    config.validate().context("settings")?;
    let listener = bind(&config.pd.addr).await?;
    let told = shutdown(args.stop_with_stdin)?;
    let data_dir = config.pd.data_dir.clone();
    let pages = pages(log, online::near(&config));
    node::run(config, listener, pages, (told.leave, told.stop))
        .await
        .context(format!("placement driver at {}", data_dir.display()))
}

fn config(args: &ServerArgs) -> Outcome<Config> {
    let table = settings::table(args.config.as_deref(), &args.set)?;
    let mut config: Config = table.try_into().context("settings")?;
    if let Some(addr) = &args.addr {
        config.pd.addr.clone_from(addr);
    }
    if let Some(data_dir) = &args.data_dir {
        config.pd.data_dir.clone_from(data_dir);
    }
    if let Some(members) = &args.pd {
        config.pd.members = members
            .split(',')
            .map(|address| address.trim().to_string())
            .collect();
    }
    args.tls.set(&mut config.tls);
    Ok(config)
}
