//! Answers of stores as the scripts have them.

use crate::text;
use std::fmt::Write as _;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::errorpb;
use yadkv_proto::metapb;
use yadkv_proto::yadkvpb::CheckRegionResponse;

fn region_error(error: Box<errorpb::Error>) -> String {
    match &error.epoch_not_match {
        Some(epoch) => format!("{}; now {}", error.message, regions(&epoch.current_regions)),
        None => error.message,
    }
}

pub(crate) fn regions(regions: &[metapb::Region]) -> String {
    let shown = regions.iter().map(|region| {
        let (start, end) = (text(&region.start_key), text(&region.end_key));
        let version = region.region_epoch.map_or(0, |epoch| epoch.version);
        format!("{} [{start}, {end}) v{version}", region.id)
    });
    shown.collect::<Vec<_>>().join(" · ")
}

pub(crate) fn show(response: StoreResponse) -> String {
    macro_rules! done {
        ($response:expr) => {{
            let response = $response;
            match (response.region_error, response.error.as_str()) {
                (Some(error), _) => region_error(error),
                (None, "") => "ok".into(),
                (None, error) => format!("error: {error}"),
            }
        }};
    }
    match response {
        StoreResponse::RawPut(response) => done!(response),
        StoreResponse::RawDelete(response) => done!(response),
        StoreResponse::RawDeleteRange(response) => done!(response),
        StoreResponse::RawGet(response)
            if response.region_error.is_none() && response.error.is_empty() =>
        {
            if response.not_found {
                "not found".into()
            } else {
                format!("\"{}\"", text(&response.value))
            }
        }
        StoreResponse::RawGet(response) => done!(response),
        StoreResponse::RawGetKeyTtl(response) if response.region_error.is_none() => {
            if response.not_found {
                "not found".into()
            } else {
                format!("{} s", response.ttl)
            }
        }
        StoreResponse::RawCompareAndSwap(response) if response.region_error.is_none() => format!(
            "succeed={} previous={}",
            response.succeed,
            if response.previous_not_exist {
                "none".into()
            } else {
                text(&response.previous_value)
            }
        ),
        StoreResponse::RawCompareAndSwap(response) => done!(response),
        StoreResponse::RawScan(response) if response.region_error.is_none() => {
            let pairs = response
                .kvs
                .iter()
                .map(|pair| format!("{}={}", text(&pair.key), text(&pair.value)));
            pairs.collect::<Vec<_>>().join(" ")
        }
        StoreResponse::RawScan(response) => {
            response.region_error.map_or(String::new(), region_error)
        }
        StoreResponse::RawChecksum(response) => {
            format!(
                "{:x} kvs={} bytes={}",
                response.checksum, response.total_kvs, response.total_bytes
            )
        }
        StoreResponse::SplitRegion(response) => match response.region_error {
            Some(error) => region_error(error),
            None if response.errors.is_empty() => regions(&response.regions),
            None => format!("error: {}", response.errors[0].abort),
        },
        StoreResponse::CheckRegion(response) => checked(response),
        other => format!("{other:?}"),
    }
}

fn checked(response: CheckRegionResponse) -> String {
    if let Some(error) = response.region_error {
        return region_error(error);
    }
    let stores =
        |peers: &[metapb::Peer]| -> Vec<u64> { peers.iter().map(|peer| peer.store_id).collect() };
    let mut shown = format!("{} pairs", response.pairs);
    for silence in &response.silent {
        let store = silence.peer.as_ref().map_or(0, |peer| peer.store_id);
        write!(shown, "; {store} silent: {}", silence.reason).unwrap();
    }
    match response.difference {
        None => write!(shown, "; the same on {:?}", stores(&response.compared)).unwrap(),
        Some(found) => {
            let groups = found.groups.iter().map(|group| stores(&group.peers));
            let groups: Vec<_> = groups.collect();
            let (family, key) = (found.family, text(&found.key));
            let at = if found.exact { "at" } else { "at or behind" };
            write!(shown, "; differs {at} {family} {key}: {groups:?} agree").unwrap();
        }
    }
    shown
}
