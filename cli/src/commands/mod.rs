//! The commands that ask a running cluster.
//!
//! *Place*: each connects with the SDK, asks, prints, ends.
//!
//! *Next stop*: [`raw`].

pub(crate) mod bench;
pub(crate) mod ctl;
mod http;
pub(crate) mod raw;

use crate::failure::{Context, Outcome};
use yadkv_client::Api;
use yadkv_client::{Client, Options};

/// Connects to the placement drivers of a comma-separated list.
pub(crate) async fn connect(pd: &str, api: Api) -> Outcome<Client> {
    let endpoints: Vec<&str> = pd.split(',').map(str::trim).collect();
    let options = Options {
        api,
        ..Options::default()
    };
    Client::connect(endpoints, options)
        .await
        .context(format!("placement driver {pd}"))
}
