//! `yadkv ctl region check`: whether the replicas of regions hold the same.
//!
//! *Limits and failure*: one region at a time; a region that is split or merged meanwhile is passed over, its parts are
//! checked in its place. The command fails at its end if replicas differ or were not compared.
//!
//! *Next stop*: `yadkv_client::admin`.

use super::table::line;
use crate::commands::Servers;
use crate::failure::{Context, Failure, Outcome};
use crate::output::say;
use crate::text::escape;
use serde_json::{Value, json};
use std::time::Duration;
use yadkv_client::{AdminClient, Api, Options};
use yadkv_proto::metapb::{Peer, Region};
use yadkv_proto::yadkvpb::CheckRegionResponse;

/// A store gives a replica 45 s for each of two questions.
const ATTEMPT_MAX: Duration = Duration::from_secs(100);
const TIMEOUT: Duration = Duration::from_secs(300);

/// Checks one region, or all.
pub(super) async fn run(pd: &Servers, region: Option<u64>, json: bool) -> Outcome {
    let options = Options {
        api: Api::V1,
        timeout: TIMEOUT,
        attempt_timeout: ATTEMPT_MAX,
        ..Options::default()
    };
    let admin = pd.connect_with(options).await?.admin();
    let (mut checked, mut bad) = (0, 0);
    for region in regions(&admin, region).await? {
        let report = admin.check_region(region.start_key).await;
        let report = report.context(format!("region {}", region.id))?;
        let row = row(&report);
        match json {
            true => say(&row)?,
            false => say(line(&row))?,
        }
        checked += 1;
        bad += usize::from(report.difference.is_some() || !report.silent.is_empty());
    }
    match bad {
        0 => Ok(()),
        bad => Err(Failure(format!(
            "{bad} of {checked} regions have replicas that differ or were not compared: see `difference` and `silent`; \
             `yadkv ctl region move-peer` replaces a replica"
        ))),
    }
}

async fn regions(admin: &AdminClient, id: Option<u64>) -> Outcome<Vec<Region>> {
    let found = match id {
        Some(id) => {
            let found = admin.region_by_id(id).await.context("region")?;
            let missing = || format!("region {id}: not found; `yadkv ctl region` lists them");
            vec![found.ok_or_else(|| Failure(missing()))?]
        }
        None => admin.regions("", u32::MAX).await.context("regions")?,
    };
    Ok(found.into_iter().filter_map(|found| found.region).collect())
}

fn row(report: &CheckRegionResponse) -> Value {
    let stores = |peers: &[Peer]| -> Vec<u64> { peers.iter().map(|peer| peer.store_id).collect() };
    let silent = report.silent.iter().map(|silence| {
        let store = silence.peer.as_ref().map_or(0, |peer| peer.store_id);
        json!({ "store_id": store, "reason": silence.reason })
    });
    let difference = report.difference.as_ref().map(|difference| {
        let agree = difference.groups.iter().map(|group| stores(&group.peers));
        json!({
            "family": difference.family,
            "key": escape(&difference.key),
            "exact": difference.exact,
            "stores_that_agree": agree.collect::<Vec<_>>(),
        })
    });
    json!({
        "id": report.region_id,
        "same": report.difference.is_none() && report.silent.is_empty(),
        "index": report.index,
        "pairs": report.pairs,
        "compared": stores(&report.compared),
        "silent": silent.collect::<Vec<_>>(),
        "difference": difference,
    })
}
