//! Runs every scenario of `tests/scripts` on three stores and compares the answers with what the script says.
//!
//! | command | |
//! |---|---|
//! | `cluster [BORDER…]` | three stores, a region between each two borders; ticks until all have leaders |
//! | `put S K V [ttl=S]` · `get S K` · `delete S K` · `cas S K OLD NEW` (`""` is absent) · `ttl S K` | a call to store S: a number, `leader` (of region 1), `leaderR` or `follower` |
//! | `scan S A B [limit=N] [reverse] [key_only]` · `delete_range S A B` · `checksum S` | the same |
//! | options of calls | `v2`, `replica`, `version=N`, `region=N`, `store=N`, `peer=N`, `cf=NAME`, `later` |
//! | `answers` | shows answers of calls made with `later` |
//! | `tick [N]` · `cut S…` · `heal` · `crash S` · `start S` · `power_loss S` · `stall S` · `unstall S` · `transfer R S` | |
//! | `log_entries N` · `flushes BOOL` · `logs R` | before `cluster`: entries after which a log is shortened · whether data engines flush when asked · where logs begin and end |
//! | `apply_queue BYTES` · `unapplied BYTES` | before `cluster`: entries that wait for apply in memory, and that it writes at once · that it may be behind before writes wait |
//! | `leader R` · `same R` | who leads · whether all running replicas hold the same data |
//! | `split S K…` · `fill PREFIX N` | a call to store S · puts N keys where they belong |
//! | `split_size KEYS` · `regions` · `driver BOOL` | before `cluster`: pairs that make a part · what clients know · whether the placement driver takes reports |
//! | `change R CHANGE…` · `members R` | the placement driver's order: `learnS`, `voteS`, `demoteS`, `removeS`; none leaves a joint state · who belongs to it as its leader knows |
//! | `snapshots BOOL` · `sent` · `crash_in N` · `holds S` | whether snapshots get through · how many did · a store that takes steps of moves crashes after N of them · what lives on a store |
//! | `lag_entries N` · `discarded S` | before `cluster`: entries after which a peer is left behind · staged sets that are left |
//! | `merge SOURCE TARGET` · `merges BOOL` | the placement driver's order · whether replicas that wait reach those beside them |
//! | `check S` · `spoil S K V` | a call to store S · a pair that only store S has, behind everybody's back |
//! | `room S plenty\|scarce\|none` · `hangs S BOOL` · `leave S` | what there is on the disk of store S · whether its writes hang · it is about to stop |
//! | `damage S A B` · `damaged S` | a file of store S with these first and last raw keys is damaged · what is damaged there |
//! | `reported R` | what the placement driver heard last: leader, stores of peers that lag, and of those that are down with their seconds |
//! | `clock S [behind_ms=N]` | the wall clock of store S is behind |
//! | `configure [NAME=VALUE…]` · `compared` | other settings for stores that run, times in seconds · comparisons that are over |
//! | `inspect S R` | what a store says of its replica |
//!
//! `UPDATE_GOLDENFILES=1 cargo test` rewrites the scripts.
#![allow(clippy::unwrap_used, missing_docs)]

mod commands;
mod harness;

use bytes::Bytes;
use commands::show::{regions, show};
use goldenscript::{ArgumentConsumer, Command, Context as ScriptContext, Runner};
use harness::{Answer, Cluster};
use std::error::Error;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use yadkv_engine::{Direction, Engine};
use yadkv_proto::api::StoreRequest;
use yadkv_proto::eraftpb::ConfChangeType;
use yadkv_proto::id::RegionId;
use yadkv_proto::kvrpcpb::*;
use yadkv_proto::metapb;
use yadkv_proto::pdpb::ChangePeer;
use yadkv_proto::yadkvpb::CheckRegionRequest;
use yadkv_storage_core::config::Config;
use yadkv_storage_core::layout;
use yadkv_storage_core::store::inspect::{Inspected, Inspection};
use yadkv_storage_core::store::message::{ChangeTask, Input, MergeTask};
use yadkv_storage_core::store::recover;

struct Script {
    cluster: Cluster,
    next_peer: u64,
    waiting: Vec<(String, Answer)>,
    config: Config,
}

type Failure = Box<dyn Error>;

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn operand(args: &mut ArgumentConsumer<'_>) -> Result<Bytes, Failure> {
    let written = args.next_pos().ok_or("an argument is missing")?;
    Ok(Bytes::from(written.to_string()))
}

fn take<T: std::str::FromStr>(
    args: &mut ArgumentConsumer<'_>,
    key: &str,
) -> Result<Option<T>, Failure> {
    let parse = |text: &str| {
        text.parse()
            .map_err(|_| format!("{key}={text} does not parse").into())
    };
    args.take_key(key).map(parse).transpose()
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &ScriptContext) -> Result<String, Failure> {
        let mut args = command.consume_args();
        let mut out = String::new();
        match command.name.as_str() {
            "cluster" => {
                let mut borders = vec![""];
                while let Some(border) = args.next_pos() {
                    borders.push(border);
                }
                self.cluster = Cluster::with_config(&borders, self.config.clone());
                for _ in 0..30 {
                    self.cluster.tick();
                }
            }
            "tick" => {
                for _ in 0..args.next_pos().unwrap_or("1").parse::<u32>()? {
                    self.cluster.tick();
                }
            }
            "cut" => {
                while let Some(store) = args.next_pos() {
                    let store = self.store(store)?;
                    self.cluster.cut.insert(store);
                }
            }
            "log_entries" => {
                self.config.log_entries = args.next_pos().ok_or("how many?")?.parse()?
            }
            "apply_queue" => {
                self.config.apply_queue_bytes = args.next_pos().ok_or("bytes?")?.parse()?;
                self.config.apply_bytes = self.config.apply_queue_bytes;
            }
            "unapplied" => {
                self.config.unapplied_bytes_max = args.next_pos().ok_or("bytes?")?.parse()?
            }
            "lag_entries" => {
                self.config.lag_entries = args.next_pos().ok_or("how many?")?.parse()?
            }
            "change" => self.change(&mut args)?,
            "merge" => self.merge(&mut args)?,
            "merges" => self.cluster.merges = args.next_pos().ok_or("true or false?")?.parse()?,
            "damage" => self.damage(&mut args)?,
            "room" => self.room(&mut args)?,
            "clock" => {
                let store = self.store(args.next_pos().ok_or("which store?")?)?;
                let behind = take(&mut args, "behind_ms")?.unwrap_or(0);
                self.cluster.behind_ms.insert(store, behind);
            }
            "hangs" => self.hangs(&mut args)?,
            "leave" => self.leave(&mut args)?,
            "damaged" => out = self.damaged(&mut args)?,
            "spoil" => self.spoil(&mut args)?,
            "members" => out = self.members(&mut args)?,
            "snapshots" => {
                self.cluster.snapshots = args.next_pos().ok_or("true or false?")?.parse()?
            }
            "sent" => writeln!(out, "{}", self.cluster.snapshots_sent)?,
            "crash_in" => self.cluster.steps_max = Some(args.next_pos().ok_or("steps?")?.parse()?),
            "holds" => out = self.holds(&mut args)?,
            "flushes" => self.cluster.flushes = args.next_pos().ok_or("true or false?")?.parse()?,
            "logs" => out = self.logs(&mut args)?,
            "split_size" => {
                self.config.split_keys = args.next_pos().ok_or("how many keys?")?.parse()?
            }
            "configure" => self.configure(&mut args)?,
            "driver" => self.cluster.driver = args.next_pos().ok_or("true or false?")?.parse()?,
            "regions" => out = regions(&self.cluster.regions) + "\n",
            "heal" => self.cluster.cut.clear(),
            "crash" | "power_loss" | "start" | "stall" | "unstall" => {
                let written = args.next_pos().ok_or("which store?")?;
                let store = self.store(written)?;
                self.process(&command.name, store);
            }
            "transfer" => {
                let region: u64 = args.next_pos().ok_or("which region?")?.parse()?;
                let to: u64 = args.next_pos().ok_or("to which store?")?.parse()?;
                let leader = self.cluster.leader(region).ok_or("nobody leads")?;
                let peers = &self.cluster.region(region)?.peers;
                let peer = *peers.iter().find(|peer| peer.store_id == to).ok_or("no")?;
                let region = yadkv_proto::id::RegionId(region);
                self.cluster
                    .input(leader, Input::TransferLeader { region, to: peer });
                self.cluster.settle();
            }
            "leader" => {
                let region = args.next_pos().unwrap_or("1").parse()?;
                writeln!(out, "{:?}", self.cluster.leader(region))?;
            }
            "compared" => writeln!(out, "{}", self.cluster.compared)?,
            "same" => writeln!(out, "{}", self.same())?,
            "reported" => {
                let region = args.next_pos().unwrap_or("1").parse()?;
                let report = self.cluster.reported.get(&region).ok_or("no report")?;
                let leader = report.leader.map_or(0, |peer| peer.store_id);
                let lag = report.pending_peers.iter().map(|peer| peer.store_id);
                let lag: Vec<_> = lag.collect();
                write!(out, "store {leader} leads, lagging: {lag:?}")?;
                for down in &report.down_peers {
                    let (peer, seconds) = (down.peer.unwrap_or_default(), down.down_seconds);
                    write!(out, ", {} down for {seconds} s", peer.store_id)?;
                }
                writeln!(out)?;
            }
            "answers" => {
                for (name, answer) in &self.waiting {
                    let shown = answer.take().map_or("waiting".into(), show);
                    writeln!(out, "{name}: {shown}")?;
                }
                self.waiting.clear();
            }
            "inspect" => out = self.inspect(&mut args)?,
            "fill" => self.fill(&mut args)?,
            name => out = self.call(name, &mut args)?,
        }
        args.reject_next()?;
        Ok(out)
    }
}

impl Script {
    /// Orders the leader of a region to change its members.
    fn change(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let region: u64 = args.next_pos().ok_or("which region?")?.parse()?;
        let leader = self.cluster.leader(region).ok_or("nobody leads")?;
        let descriptor = self.cluster.region(region)?;
        let mut changes = Vec::new();
        while let Some(written) = args.next_pos() {
            let (kind, store) = written.split_at(written.len() - 1);
            let store_id: u64 = store.parse()?;
            let known = descriptor
                .peers
                .iter()
                .find(|peer| peer.store_id == store_id);
            self.next_peer += 1;
            let new = metapb::Peer {
                id: 1000 + self.next_peer,
                store_id,
                ..Default::default()
            };
            let kind = match kind {
                "learn" | "demote" => ConfChangeType::AddLearnerNode,
                "vote" => ConfChangeType::AddNode,
                _ => ConfChangeType::RemoveNode,
            };
            changes.push(ChangePeer {
                peer: Some(known.copied().unwrap_or(new)),
                change_type: kind as i32,
            });
        }
        let task = ChangeTask {
            epoch: descriptor.region_epoch.unwrap(),
            changes,
        };
        self.cluster
            .input(leader, Input::ChangePeers(RegionId(region), task));
        self.cluster.settle();
        Ok(())
    }

    /// Orders the leader of a region to let it become part of another one.
    fn merge(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let source: u64 = args.next_pos().ok_or("which region?")?.parse()?;
        let target: u64 = args.next_pos().ok_or("into which?")?.parse()?;
        let leader = self.cluster.leader(source).ok_or("nobody leads")?;
        let task = MergeTask {
            epoch: self.cluster.region(source)?.region_epoch.unwrap(),
            target: self.cluster.region(target)?,
        };
        let order = Input::Merge(RegionId(source), task);
        self.cluster.input(leader, order);
        self.cluster.settle();
        Ok(())
    }

    fn members(&self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failure> {
        let region: u64 = args.next_pos().unwrap_or("1").parse()?;
        let region = self.cluster.region(region)?;
        let shown = region.peers.iter().map(|peer| {
            let role = peer.role().as_str_name();
            format!("{}: {role} {}", peer.store_id, peer.id)
        });
        let shown: Vec<_> = shown.collect();
        let conf_ver = region.region_epoch.unwrap().conf_ver;
        Ok(format!("c{conf_ver}  {}\n", shown.join("  ")))
    }

    /// What lives on a store: regions with their pairs, and what is left of others.
    fn holds(&self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failure> {
        let id = self.store(args.next_pos().ok_or("which store?")?)?;
        let store = &self.cluster.stores[&id];
        let mut shown = Vec::new();
        for record in recover::load_regions(&store.kv)? {
            let region = record.region.clone().unwrap_or_default();
            let range = yadkv_proto::key::KeyRange::of(&region);
            let pairs = pairs(&store.kv, &range.start, &range.end).len();
            let log = yadkv_consensus::LogStore::open(std::sync::Arc::new(store.raft.clone()), 0)?;
            let log = log.owner(RegionId(region.id))?.map_or(0, |peer| peer.0);
            let peer = record.peer.unwrap_or_default().id;
            let state = record.state().as_str_name();
            shown.push(format!(
                "region {} {state} peer {peer}, log of peer {log}, {pairs} pairs\n",
                region.id
            ));
        }
        let staged = yadkv_engine::Intake::staged(&store.kv)?.len();
        shown.push(format!("{staged} staged sets\n"));
        Ok(shown.concat())
    }

    fn store(&self, written: &str) -> Result<u64, Failure> {
        match written {
            "leader" => Ok(self.cluster.leader(1).ok_or("nobody leads")?),
            "follower" => {
                let leader = self.cluster.leader(1).ok_or("nobody leads")?;
                Ok(if leader == 1 { 2 } else { 1 })
            }
            other => match other.strip_prefix("leader") {
                Some(region) => Ok(self.cluster.leader(region.parse()?).ok_or("nobody leads")?),
                None => Ok(other.parse()?),
            },
        }
    }

    /// Where the logs of a region begin and end, store by store.
    fn logs(&self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failure> {
        let region = RegionId(args.next_pos().unwrap_or("1").parse()?);
        let log = |(id, store): (&u64, &harness::Store)| {
            let node = store.running.as_ref()?.worker.peer(region)?.node();
            Some(format!(
                "{id}: {}..={}",
                node.truncated_index().next(),
                node.last_index()
            ))
        };
        let logs: Vec<_> = self.cluster.stores.iter().filter_map(log).collect();
        Ok(logs.join("  ") + "\n")
    }

    /// What a store says of its replica of a region.
    fn inspect(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String, Failure> {
        let store = self.store(args.next_pos().ok_or("which store?")?)?;
        let region = RegionId(args.next_pos().unwrap_or("1").parse()?);
        let (sender, answer) = std::sync::mpsc::channel();
        let inspection = Inspection {
            from: region,
            limit: 1,
            reply: Box::new(move |found| sender.send(found).unwrap()),
        };
        self.cluster.input(store, Input::Inspect(inspection));
        let Some(found) = answer.recv()?.pop() else {
            return Ok("nothing\n".into());
        };
        let Inspected::Lives(replica) = found else {
            return Ok(format!("{} moves\n", found.region()));
        };
        let mut out = String::new();
        let (leader, term) = (replica.leader.map_or(0, |peer| peer.0), replica.term.0);
        write!(out, "{:?} of {leader} in term {term}, ", replica.role)?;
        write!(
            out,
            "commit {}, applied {}, ",
            replica.commit, replica.applied
        )?;
        write!(out, "log {}..={}, ", replica.first, replica.last)?;
        writeln!(
            out,
            "waits for {:?}, {:?}",
            replica.waits_for, replica.waiting
        )?;
        for follower in &replica.followers {
            let lag = replica.last.0 - follower.matched.0;
            let (store, how) = (follower.peer.store_id, follower.replication);
            let (silence, snapshot) = (follower.silence, follower.snapshot);
            writeln!(
                out,
                "  {store}: {how:?}, lacks {lag}, silent {silence:?}, snapshot {snapshot:?}"
            )?;
        }
        Ok(out)
    }

    /// Puts so many keys that begin alike, each to the region that has it.
    fn fill(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<(), Failure> {
        let head = operand(args)?;
        let count: u32 = args.next_pos().ok_or("how many?")?.parse()?;
        for number in 0..count {
            let key = Bytes::from([&head[..], format!("{number:04}").as_bytes()].concat());
            let region = self.cluster.context(1, &key, ApiVersion::V1).region_id;
            let store = self.cluster.leader(region).ok_or("nobody leads")?;
            let context = self.cluster.context(store, &key, ApiVersion::V1);
            let put = RawPutRequest {
                context: Some(Box::new(context)),
                key,
                value: Bytes::from_static(b"v"),
                ..Default::default()
            };
            let answer = self.cluster.call(store, put.into()).take();
            let shown = answer.map_or("waiting".into(), show);
            if shown != "ok" {
                return Err(format!("put {number}: {shown}").into());
            }
        }
        Ok(())
    }

    fn process(&mut self, command: &str, store: u64) {
        match command {
            "crash" | "power_loss" => {
                self.cluster.steps_max = None;
                self.cluster.crash(store);
                // The data has no log of its own: it goes back to what was flushed.
                self.cluster.stores[&store].kv.power_loss(0);
                if command == "crash" {
                    return;
                }
                self.cluster.stores[&store].raft.power_loss(0);
            }
            "start" => self.cluster.start(store),
            "stall" => {
                self.cluster.stalled.insert(store);
            }
            _ => self.cluster.unstall(store),
        }
    }

    fn call(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<String, Failure> {
        let written = args.next_pos().ok_or("which store?")?;
        let store = self.store(written)?;
        let request = self.request(name, store, args)?;
        if take::<bool>(args, "later")?.unwrap_or(false) {
            let answer = self.cluster.submit(store, request);
            self.waiting.push((name.into(), answer));
            return Ok(String::new());
        }
        let answer = self.cluster.call(store, request).take();
        Ok(format!("{}\n", answer.map_or("waiting".into(), show)))
    }

    fn request(
        &self,
        name: &str,
        store: u64,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<StoreRequest, Failure> {
        let api = if take::<bool>(args, "v2")?.unwrap_or(false) {
            ApiVersion::V2
        } else {
            ApiVersion::V1
        };
        let ttl = take(args, "ttl")?.unwrap_or(0);
        let cf: String = take(args, "cf")?.unwrap_or_default();
        let mut operands = Vec::new();
        while let Ok(operand) = operand(args) {
            operands.push(operand);
        }
        let first = operands.first().cloned().unwrap_or_default();
        let second = operands.get(1).cloned().unwrap_or_default();
        let place = if api == ApiVersion::V2 {
            yadkv_proto::codec::encode(&first)
        } else {
            first.clone()
        };
        let mut context = self.cluster.context(store, &place, api);
        context.replica_read = take(args, "replica")?.unwrap_or(false);
        if let Some(version) = take(args, "version")? {
            context.region_epoch.as_mut().unwrap().version = version;
        }
        context.region_id = take(args, "region")?.unwrap_or(context.region_id);
        let peer = context.peer.as_mut().unwrap();
        peer.id = take(args, "peer")?.unwrap_or(peer.id);
        peer.store_id = take(args, "store")?.unwrap_or(peer.store_id);
        let context = Some(Box::new(context));
        let (limit, reverse, key_only) = (
            take(args, "limit")?.unwrap_or(100),
            take(args, "reverse")?.unwrap_or(false),
            take(args, "key_only")?.unwrap_or(false),
        );
        Ok(match name {
            "put" => RawPutRequest {
                context,
                key: first,
                value: second,
                cf,
                ttl,
                for_cas: false,
            }
            .into(),
            "get" => RawGetRequest {
                context,
                key: first,
                cf,
            }
            .into(),
            "delete" => RawDeleteRequest {
                context,
                key: first,
                cf,
                for_cas: false,
            }
            .into(),
            "ttl" => RawGetKeyTtlRequest {
                context,
                key: first,
                cf,
            }
            .into(),
            "cas" => RawCasRequest {
                context,
                key: first,
                previous_not_exist: second.is_empty(),
                previous_value: second,
                value: operands.get(2).cloned().unwrap_or_default(),
                cf,
                ttl,
                delete: false,
            }
            .into(),
            "scan" => RawScanRequest {
                context,
                start_key: first,
                end_key: second,
                limit,
                reverse,
                cf,
                key_only,
            }
            .into(),
            "delete_range" => RawDeleteRangeRequest {
                context,
                start_key: first,
                end_key: second,
                cf,
            }
            .into(),
            "split" => SplitRegionRequest {
                context,
                split_keys: operands,
                is_raw_kv: api == ApiVersion::V1,
                ..Default::default()
            }
            .into(),
            "check" => CheckRegionRequest { context }.into(),
            "checksum" => RawChecksumRequest {
                context,
                algorithm: 0,
                ranges: vec![KeyRange::default()],
            }
            .into(),
            other => return Err(format!("unknown command {other}").into()),
        })
    }

    /// Compares what the running replicas of each region hold.
    fn same(&self) -> bool {
        self.cluster.regions.iter().all(|region| {
            let contents = self.cluster.stores.values().filter_map(|store| {
                let running = store.running.as_ref()?;
                running.worker.peer(RegionId(region.id))?;
                Some(pairs(&store.kv, &region.start_key, &region.end_key))
            });
            let contents: Vec<_> = contents.collect();
            contents.windows(2).all(|pair| pair[0] == pair[1])
        })
    }
}

type Pair = (yadkv_engine::Family, Vec<u8>, Vec<u8>);

fn pairs(kv: &yadkv_engine::memory::Memory, start: &[u8], end: &[u8]) -> Vec<Pair> {
    let snapshot = kv.snapshot();
    let mut pairs = Vec::new();
    for family in layout::DATA {
        let visit = &mut |key: &[u8], value: &[u8]| {
            pairs.push((family, key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        // What is damaged is no pair.
        let _ = snapshot.scan(family, start, end, Direction::Forward, visit);
    }
    pairs
}

fn run(name: &str) {
    let mut script = Script {
        cluster: Cluster::new(&[""]),
        next_peer: 0,
        waiting: Vec::new(),
        config: Config::default(),
    };
    goldenscript::run(&mut script, format!("tests/scripts/{name}")).unwrap();
}

#[test]
fn raw() {
    run("raw");
}

#[test]
fn routing() {
    run("routing");
}

#[test]
fn leaders() {
    run("leaders");
}

#[test]
fn restart() {
    run("restart");
}

#[test]
fn ttl() {
    run("ttl");
}

#[test]
fn lagging() {
    run("lagging");
}

#[test]
fn split() {
    run("split");
}

#[test]
fn split_size() {
    run("split_size");
}

#[test]
fn members() {
    run("members");
}

#[test]
fn merge() {
    run("merge");
}

#[test]
fn snapshots() {
    run("snapshots");
}

#[test]
fn damaged() {
    run("damaged");
}

#[test]
fn room() {
    run("room");
}

#[test]
fn check() {
    run("check");
}

#[test]
fn logs() {
    run("logs");
}

#[test]
fn down() {
    run("down");
}

#[test]
fn behind() {
    run("behind");
}

#[test]
fn leave() {
    run("leave");
}

#[test]
fn configure() {
    run("configure");
}
