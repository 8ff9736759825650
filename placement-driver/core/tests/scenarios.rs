//! Scenarios of a whole placement driver: every file in `tests/scenarios` is a story with its golden output.
#![allow(clippy::unwrap_used)]

mod rig;

use goldenscript::{ArgumentConsumer, Command, Context};
use rig::{EPOCH_MS, Rig, Slot};
use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;
use yadkv_placement_core::border;
use yadkv_placement_core::{Changeable, Input, Order, StoreOrder};
use yadkv_proto::api::{PdRequest, PdResponse};
use yadkv_proto::codec;
use yadkv_proto::id::{RegionId, StoreId};
use yadkv_proto::keyspacepb;
use yadkv_proto::metapb::{Peer, PeerRole, Region, RegionEpoch, Store};
use yadkv_proto::pdpb;

type Output = Result<String, Box<dyn Error>>;

#[derive(Default)]
struct Script {
    rig: Option<Rig>,
    last_stamp: (i64, i64),
    later: Vec<(String, Slot<rig::Answer>)>,
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Output {
        let mut args = command.consume_args();
        if command.name == "cluster" {
            let members = args.take_key("members").unwrap_or("3").parse()?;
            let mut rig = Rig::new(members, args.take_key("seed").unwrap_or("1").parse()?);
            if let Some(stores) = args.take_key("bootstrap.stores") {
                rig.config.bootstrap.stores = stores.parse()?;
            }
            if let Some(borders) = args.take_key("bootstrap.borders") {
                let borders = borders.split(',').map(border::parse);
                rig.config.bootstrap.borders = borders.collect::<Result<_, _>>()?;
            }
            if let Some(entries) = args.take_key("log.keep_entries") {
                rig.config.log.keep_entries = entries.parse()?;
            }
            if let Some(bytes) = args.take_key("log.chunk_bytes") {
                rig.config.log.chunk_bytes = bytes.parse()?;
            }
            args.reject_next()?;
            rig.config.validate()?;
            rig.start_all();
            self.rig = Some(rig);
            return Ok(String::new());
        }
        let output = match command.name.as_str() {
            "leader" | "run" | "kill" | "leave" | "start" | "cut" | "heal" | "clock" | "pause" => {
                self.host(&command.name, &mut args)?
            }
            _ => self.call(command, context, &mut args)?,
        };
        args.reject_next()?;
        Ok(output)
    }
}

impl Script {
    /// Other settings for one member, as if somebody had set them online.
    fn configure(&mut self, target: u64, args: &mut ArgumentConsumer<'_>) -> Output {
        let rig = self.rig();
        let config = rig.member(target).ok_or("it is down")?.config().clone();
        let (mut schedule, mut log) = (config.schedule, config.log);
        macro_rules! set {
            ($section:ident: $($name:ident),*) => { $(
                if let Some(value) = args.take_key(concat!(stringify!($section), ".", stringify!($name))) {
                    $section.$name = value.parse()?;
                }
            )* };
        }
        set!(schedule: balance_leaders, check_replicas, replicas);
        set!(log: keep_entries);
        for (name, time) in [
            ("schedule.interval", &mut schedule.interval),
            ("schedule.store_dead_time", &mut schedule.store_dead_time),
            (
                "schedule.store_disconnect_time",
                &mut schedule.store_disconnect_time,
            ),
        ] {
            if let Some(seconds) = args.take_key(name) {
                *time = Duration::from_secs(seconds.parse()?);
            }
        }
        let (sender, outcome) = std::sync::mpsc::channel();
        let reply = Box::new(move |outcome| sender.send(outcome).unwrap());
        let wanted = Box::new(Changeable { schedule, log });
        rig.input(target, Input::Configure(wanted, reply));
        Ok(match outcome.try_recv()? {
            Ok(()) => "ok".into(),
            Err(error) => error.to_string(),
        })
    }

    fn rig(&mut self) -> &mut Rig {
        self.rig.as_mut().expect("the script starts with `cluster`")
    }

    /// What happens to machines and time.
    fn host(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Output {
        if name == "leader" {
            let rig = self.rig();
            let id = rig.await_leader();
            let term = rig.member(id).unwrap().term();
            return Ok(format!("pd{id} leads in {term}"));
        }
        let first = args.next_pos().unwrap_or("0");
        let leader = self.rig().leader().unwrap_or(0);
        let id = if first == "leader" {
            leader
        } else {
            first.parse()?
        };
        let rig = self.rig();
        match name {
            "run" => rig.run(id),
            "kill" => rig.kill(id, args.take_key("power").is_some()),
            "leave" => rig.input(id, Input::Leave),
            "start" => {
                let dead: Vec<_> = rig
                    .ids()
                    .into_iter()
                    .filter(|id| rig.member(*id).is_none())
                    .collect();
                dead.into_iter().try_for_each(|id| rig.start(id))?;
            }
            "cut" => {
                rig.cut.insert(id);
            }
            "heal" => rig.cut.clear(),
            "pause" => {
                rig.hosts.get_mut(&id).unwrap().pause_ms = args.take_key("ms").unwrap().parse()?
            }
            _ => rig.hosts.get_mut(&id).unwrap().skew_ms = args.take_key("ms").unwrap().parse()?,
        }
        Ok(String::new())
    }

    fn call(
        &mut self,
        command: &Command,
        context: &Context,
        args: &mut ArgumentConsumer<'_>,
    ) -> Output {
        match command.name.as_str() {
            "status" => return Ok(self.status()),
            "same" => return self.same(),
            "logs" => return Ok(self.logs()),
            "answers" => return Ok(self.answers()),
            _ => {}
        }
        let target = match &context.prefix {
            Some(prefix) => prefix.trim_start_matches("pd").parse()?,
            None => self.rig().await_leader(),
        };
        match command.name.as_str() {
            "overview" => return self.overview(target),
            "operators" => return self.operators(target),
            "configure" => return self.configure(target, args),
            "order" => return self.order(target, args),
            "stores-join" => {
                let count: usize = args.next_pos().unwrap_or("3").parse()?;
                return self.stores_join(target, count);
            }
            _ => {}
        }
        let request = self.request(command, args)?;
        if context.tags.contains("later") {
            let slot = self.rig().send(target, request);
            self.later.push((command.name.clone(), slot));
            return Ok(String::new());
        }
        let answer = self.rig().ask(target, request);
        Ok(self.show(answer))
    }

    fn request(
        &mut self,
        command: &Command,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<PdRequest, Box<dyn Error>> {
        let mut header = self.rig().header();
        if let Some(cluster) = args.take_key("cluster") {
            header.as_mut().unwrap().cluster_id = cluster.parse()?;
        }
        let key = |args: &mut ArgumentConsumer<'_>| -> Result<bytes::Bytes, Box<dyn Error>> {
            let encoded = args
                .take_key("enc")
                .map(|key| codec::encode(&border::parse(key).unwrap()));
            Ok(encoded.unwrap_or(border::parse(args.next_pos().unwrap_or(""))?))
        };
        let number = |args: &mut ArgumentConsumer<'_>| -> Result<u64, Box<dyn Error>> {
            Ok(args.next_pos().unwrap_or("1").parse()?)
        };
        Ok(match command.name.as_str() {
            "tso" => pdpb::TsoRequest {
                header,
                count: number(args)? as u32,
                ..Default::default()
            }
            .into(),
            "alloc" => pdpb::AllocIdRequest {
                header,
                count: number(args)? as u32,
            }
            .into(),
            "members" => pdpb::GetMembersRequest { header }.into(),
            "bootstrapped" => pdpb::IsBootstrappedRequest { header }.into(),
            "keyspace" => {
                let name = args.next_pos().unwrap_or("DEFAULT").to_owned();
                keyspacepb::LoadKeyspaceRequest {
                    header,
                    name,
                    namespace: None,
                }
                .into()
            }
            "get" => pdpb::GetRegionRequest {
                header,
                region_key: key(args)?,
                need_buckets: false,
            }
            .into(),
            "scan" => {
                let limit = args.take_key("limit").unwrap_or("0").parse()?;
                let start_key = key(args)?;
                pdpb::ScanRegionsRequest {
                    header,
                    start_key,
                    limit,
                    ..Default::default()
                }
                .into()
            }
            "get-store" => pdpb::GetStoreRequest {
                header,
                store_id: number(args)?,
            }
            .into(),
            "stores" => pdpb::GetAllStoresRequest {
                header,
                exclude_tombstone_stores: false,
            }
            .into(),
            "put-store" => {
                let id = number(args)?;
                let address = args.next_pos().unwrap_or("").to_owned();
                let store = Some(Store {
                    id,
                    address,
                    ..Store::default()
                });
                pdpb::PutStoreRequest { header, store }.into()
            }
            "beat" => {
                let stats = pdpb::StoreStats {
                    store_id: number(args)?,
                    capacity: 100,
                    available: match args.take_key("available") {
                        Some(available) => available.parse()?,
                        None => 90,
                    },
                    ..Default::default()
                };
                pdpb::StoreHeartbeatRequest {
                    header,
                    stats: Some(stats),
                    store_report: None,
                }
                .into()
            }
            "gc" => pdpb::UpdateGcSafePointRequest {
                header,
                safe_point: number(args)?,
            }
            .into(),
            "region" => self.region_heartbeat(header, args)?,
            "ask-split" => {
                let (region, _) = self.descriptor(args)?;
                let split_count = number(args)? as u32;
                pdpb::AskBatchSplitRequest {
                    header,
                    region: Some(region),
                    split_count,
                    reason: 0,
                }
                .into()
            }
            "report-split" => pdpb::ReportBatchSplitRequest {
                header,
                regions: self.parts(args)?,
            }
            .into(),
            other => return Err(format!("no command {other}").into()),
        })
    }

    /// `region ID leader=STORE term=T [range=a..b] [epoch=CONF.VERSION] [peers=ID@STORE,…] [lags=STORE,…]
    /// [down=STORE,…]`: what is not given is as the map says. A letter behind a peer is its role: Learner, Incoming, Demoting.
    fn region_heartbeat(
        &mut self,
        header: Option<pdpb::RequestHeader>,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<PdRequest, Box<dyn Error>> {
        let (region, leader) = self.descriptor(args)?;
        let term = args.take_key("term").unwrap_or("6").parse()?;
        let mut named = |key| {
            let named = args.take_key(key).unwrap_or("").to_owned();
            let is_named = |peer: &&Peer| {
                let mut stores = named.split(',');
                stores.any(|store| store == peer.store_id.to_string())
            };
            let peers = region.peers.iter().filter(is_named).copied();
            peers.collect::<Vec<_>>()
        };
        let (pending_peers, down) = (named("lags"), named("down"));
        let silent = |peer| pdpb::PeerStats {
            peer: Some(peer),
            down_seconds: 5,
        };
        Ok(pdpb::RegionHeartbeatRequest {
            header,
            region: Some(region),
            leader,
            term,
            pending_peers,
            down_peers: down.into_iter().map(silent).collect(),
            ..Default::default()
        }
        .into())
    }

    /// `ID_a..b … epoch=CONF.VERSION`: descriptors, else as the map says.
    fn parts(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<Vec<Region>, Box<dyn Error>> {
        let epoch = args.take_key("epoch").unwrap_or("1.2").to_owned();
        let mut parts = Vec::new();
        while let Some(part) = args.next_pos() {
            let (id, range) = part.split_once('_').ok_or("ID_a..b is expected")?;
            parts.push(self.described(id.parse()?, Some(range), Some(&epoch))?);
        }
        Ok(parts)
    }

    fn descriptor(
        &mut self,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<(Region, Option<Peer>), Box<dyn Error>> {
        let id: u64 = args.next_pos().unwrap_or("1").parse()?;
        let (range, epoch) = (args.take_key("range"), args.take_key("epoch"));
        let mut region = self.described(id, range, epoch)?;
        if let Some(peers) = args.take_key("peers") {
            region.peers = peers.split(',').map(peer).collect::<Result<_, _>>()?;
        }
        let store: u64 = args.take_key("leader").unwrap_or("1").parse()?;
        let leader = region
            .peers
            .iter()
            .find(|peer| peer.store_id == store)
            .copied();
        Ok((region, leader))
    }

    fn described(
        &mut self,
        id: u64,
        range: Option<&str>,
        epoch: Option<&str>,
    ) -> Result<Region, Box<dyn Error>> {
        let leader = self.rig().await_leader();
        let map = self.rig().member(leader).unwrap().cluster().regions();
        let known = map.by_id(RegionId(id)).map(|region| (**region).clone());
        let mut region = known.unwrap_or_else(|| Region {
            id,
            region_epoch: Some(RegionEpoch {
                conf_ver: 1,
                version: 1,
            }),
            peers: (1..=3)
                .map(|store| Peer {
                    id: id * 100 + store,
                    store_id: store,
                    ..Peer::default()
                })
                .collect(),
            ..Region::default()
        });
        if let Some((start, end)) = range.map(|range| range.split_once("..").unwrap()) {
            (region.start_key, region.end_key) = (border::parse(start)?, border::parse(end)?);
        }
        if let Some((conf_ver, version)) = epoch.map(|epoch| epoch.split_once('.').unwrap()) {
            region.region_epoch = Some(RegionEpoch {
                conf_ver: conf_ver.parse()?,
                version: version.parse()?,
            });
        }
        Ok(region)
    }

    fn stores_join(&mut self, target: u64, count: usize) -> Output {
        let mut output = String::new();
        for at in 0..count {
            let header = self.rig().header();
            let PdResponse::AllocId(ids) = self.rig().ask(
                target,
                pdpb::AllocIdRequest {
                    header: header.clone(),
                    count: 1,
                },
            )?
            else {
                panic!("the answer has the kind of the request");
            };
            let store = Some(Store {
                id: ids.id,
                address: format!("store{}:20160", at + 1),
                ..Store::default()
            });
            let answer = self
                .rig()
                .ask(target, pdpb::PutStoreRequest { header, store });
            writeln!(output, "store {} {}", ids.id, self.show(answer))?;
        }
        self.rig().run(50);
        Ok(output)
    }

    fn status(&mut self) -> String {
        let rig = self.rig();
        let mut output = String::new();
        for id in rig.ids() {
            let Some(member) = rig.member(id) else {
                writeln!(output, "pd{id} down").unwrap();
                continue;
            };
            let role = if member.is_leader() {
                "leads"
            } else {
                "follows"
            };
            let leader = member.leader().map_or("nobody", |leader| &leader.name);
            writeln!(output, "pd{id} {role} in {}, sees {leader}", member.term()).unwrap();
        }
        output
    }

    /// The answers to calls that were sent `[later]`; those without one are shown again next time.
    fn answers(&mut self) -> String {
        let mut output = String::new();
        for (name, slot) in std::mem::take(&mut self.later) {
            let answer = slot.lock().unwrap().take();
            match answer {
                Some(answer) => writeln!(output, "{name}: {}", self.show(answer)).unwrap(),
                None => {
                    writeln!(output, "{name}: no answer yet").unwrap();
                    self.later.push((name, slot));
                }
            }
        }
        output
    }

    /// How many entries the logs hold, of those that were applied, and what became of transfers of the state.
    fn logs(&mut self) -> String {
        let rig = self.rig();
        let mut output = String::new();
        for id in rig.ids() {
            let Some(member) = rig.member(id) else {
                writeln!(output, "pd{id} down").unwrap();
                continue;
            };
            let (entries, transfers) = (member.log_entries(), member.transfers());
            let applied = member.cluster().applied().0;
            write!(output, "pd{id} applied {applied}, {entries} in the log").unwrap();
            let counts = [
                (transfers.sent, "sent"),
                (transfers.failed, "not sent"),
                (transfers.installed, "installed"),
            ];
            for (count, what) in counts.into_iter().filter(|(count, _)| *count > 0) {
                write!(output, ", states {what}: {count}").unwrap();
            }
            writeln!(output).unwrap();
        }
        output
    }

    /// All running members hold the same state.
    fn same(&mut self) -> Output {
        let rig = self.rig();
        // Longer than the timestamp bound is kept ahead without callers, so that the log comes to rest.
        rig.run(12_000);
        let living = rig.ids().into_iter().filter_map(|id| rig.member(id));
        let mut states: Vec<_> = living
            .map(|member| format!("{:?}", member.cluster()))
            .collect();
        let count = states.len();
        states.dedup();
        Ok(format!("{count} members, {} state", states.len()))
    }

    fn overview(&mut self, target: u64) -> Output {
        let overview = self.rig().overview(target)?;
        let mut output = format!("regions {}\n", overview.regions.len());
        for store in &overview.stores {
            let (id, name) = (store.store.id, store.condition.name());
            writeln!(
                output,
                "store {id} {name} regions={} leaders={}",
                store.regions, store.leaders
            )?;
        }
        let running = |one: &&yadkv_placement_core::schedule::operator::Operator| {
            one.status == yadkv_placement_core::schedule::operator::Status::Running
        };
        for operator in overview.operators.iter().filter(running) {
            let (region, reason) = (operator.region, &operator.reason);
            writeln!(output, "operator {region}: {reason}")?;
        }
        Ok(output)
    }

    /// `order add-peer|remove-peer|transfer-leader REGION STORE`, `order move-peer REGION FROM TO`,
    /// `order cancel REGION`, `order remove-store|keep-store STORE`.
    fn order(&mut self, target: u64, args: &mut ArgumentConsumer<'_>) -> Output {
        let name = args.next_pos().unwrap_or("").to_owned();
        let mut number =
            || -> Result<u64, Box<dyn Error>> { Ok(args.next_pos().unwrap_or("0").parse()?) };
        let order = match name.as_str() {
            "remove-store" => Order::Store(StoreId(number()?), StoreOrder::Remove),
            "keep-store" => Order::Store(StoreId(number()?), StoreOrder::Keep),
            _ => {
                let (region, store) = (RegionId(number()?), StoreId(number()?));
                match name.as_str() {
                    "add-peer" => Order::AddPeer(region, store),
                    "remove-peer" => Order::RemovePeer(region, store),
                    "transfer-leader" => Order::TransferLeader(region, store),
                    "move-peer" => Order::MovePeer(region, store, StoreId(number()?)),
                    "merge" => Order::Merge(region, RegionId(store.0)),
                    "cancel" => Order::Cancel(region),
                    other => return Err(format!("no order {other}").into()),
                }
            }
        };
        Ok(match self.rig().order(target, order) {
            Ok(()) => "ok".to_owned(),
            Err(refusal) => format!("refused: {refusal}"),
        })
    }

    fn operators(&mut self, target: u64) -> Output {
        let overview = self.rig().overview(target)?;
        let mut output = String::new();
        for operator in overview.operators {
            let step = operator.step().map(ToString::to_string);
            let step = step.unwrap_or("nothing".to_owned());
            let (region, status, reason) = (operator.region, operator.status, operator.reason);
            writeln!(output, "{region} {status:?}: {step} ({reason})")?;
        }
        Ok(output)
    }

    fn show(&mut self, answer: rig::Answer) -> String {
        let response = match answer {
            Ok(response) => response,
            Err(refusal) => {
                return format!("refused: {refusal}")
                    .replace(&self.rig().cluster_id().to_string(), "CLUSTER");
            }
        };
        macro_rules! header_of {
            ($($name:ident),*) => { match &response {
                $(PdResponse::$name(response) => response.header.clone(),)*
                _ => None,
            }};
        }
        let header = header_of!(
            Tso,
            AllocId,
            GetMembers,
            IsBootstrapped,
            LoadKeyspace,
            GetRegion,
            ScanRegions,
            GetStore,
            GetAllStores,
            PutStore,
            StoreHeartbeat,
            RegionHeartbeat,
            AskBatchSplit,
            ReportBatchSplit,
            UpdateGcSafePoint
        );
        let header = header.expect("every response has a header");
        assert_eq!(header.cluster_id, self.rig().cluster_id());
        if let Some(error) = header.error {
            return format!("error {}: {}", error.r#type().as_str_name(), error.message);
        }
        match response {
            PdResponse::Tso(response) => self.show_stamp(&response),
            PdResponse::AllocId(response) => format!(
                "ids {}..={}",
                response.id,
                response.id + u64::from(response.count) - 1
            ),
            PdResponse::GetMembers(response) => {
                let names: Vec<_> = response
                    .members
                    .iter()
                    .map(|member| member.client_urls.join(" "))
                    .collect();
                format!(
                    "{} leader={}",
                    names.join(" "),
                    response
                        .leader
                        .map_or("none".to_owned(), |leader| leader.name)
                )
            }
            PdResponse::AskBatchSplit(response) => {
                let shown = response
                    .ids
                    .iter()
                    .map(|id| format!("r{} peers {:?}", id.new_region_id, id.new_peer_ids));
                shown.collect::<Vec<_>>().join("; ")
            }
            PdResponse::IsBootstrapped(response) => response.bootstrapped.to_string(),
            PdResponse::LoadKeyspace(response) => {
                format!("{:?}", response.keyspace.and_then(|meta| meta.keyspace))
            }
            PdResponse::GetRegion(response) => {
                show_region(response.region.as_ref(), response.leader.as_ref())
            }
            PdResponse::ScanRegions(response) => {
                let shown = response
                    .regions
                    .iter()
                    .map(|found| show_region(found.region.as_ref(), found.leader.as_ref()));
                shown.collect::<Vec<_>>().join("\n")
            }
            PdResponse::GetStore(response) => {
                let store = response.store.unwrap();
                format!("{} {} {:?}", store.id, store.address, store.state())
            }
            PdResponse::GetAllStores(response) => {
                let shown = response
                    .stores
                    .iter()
                    .map(|store| format!("{} {}", store.id, store.address));
                shown.collect::<Vec<_>>().join(", ")
            }
            PdResponse::UpdateGcSafePoint(response) => {
                format!("safe point {}", response.new_safe_point)
            }
            PdResponse::RegionHeartbeat(response) => show_asked(response),
            _ => "ok".to_owned(),
        }
    }

    /// Whether the block lies above every earlier one, and how far from the wall clock.
    fn show_stamp(&mut self, response: &pdpb::TsoResponse) -> String {
        let stamp = response.timestamp.unwrap();
        let first = (
            stamp.physical,
            stamp.logical - i64::from(response.count) + 1,
        );
        let order = if first > self.last_stamp {
            "rises"
        } else {
            "FALLS"
        };
        self.last_stamp = (stamp.physical, stamp.logical);
        let wall = (EPOCH_MS + self.rig().now_ms) as i64;
        format!(
            "{} timestamps, {order}, {:+} ms from true time",
            response.count,
            stamp.physical - wall
        )
    }
}

/// `ID@STORE`, and a letter for its role.
fn peer(text: &str) -> Result<Peer, Box<dyn Error>> {
    let (id, store) = text.split_once('@').ok_or("ID@STORE is expected")?;
    let digits = store.trim_end_matches(char::is_alphabetic);
    let mut peer = Peer {
        id: id.parse()?,
        store_id: digits.parse()?,
        ..Peer::default()
    };
    peer.set_role(match &store[digits.len()..] {
        "L" => PeerRole::Learner,
        "I" => PeerRole::IncomingVoter,
        "D" => PeerRole::DemotingVoter,
        _ => PeerRole::Voter,
    });
    Ok(peer)
}

fn show_region(region: Option<&Region>, leader: Option<&Peer>) -> String {
    let Some(region) = region else {
        return "none".to_owned();
    };
    let epoch = region.region_epoch.unwrap();
    let peers: Vec<_> = region
        .peers
        .iter()
        .map(|peer| format!("{}@{}", peer.id, peer.store_id))
        .collect();
    let leader = leader.map_or("none".to_owned(), |leader| leader.store_id.to_string());
    let (start, end) = (
        border::show(&region.start_key),
        border::show(&region.end_key),
    );
    format!(
        "r{} [{start} .. {end}) {}.{} peers {} leader {leader}",
        region.id,
        epoch.conf_ver,
        epoch.version,
        peers.join(" ")
    )
}

#[test]
fn scenarios() {
    let mut paths: Vec<_> = std::fs::read_dir("tests/scenarios")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        goldenscript::run(&mut Script::default(), &path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// What a region's leader is asked.
fn show_asked(response: pdpb::RegionHeartbeatResponse) -> String {
    let id = response.region_id;
    if let Some(merge) = response.merge {
        let target = merge.target.unwrap_or_default();
        let epoch = target.region_epoch.unwrap();
        let (conf_ver, version) = (epoch.conf_ver, epoch.version);
        return format!(
            "merge region {id} into {} at {conf_ver}.{version}",
            target.id
        );
    }
    if let Some(changes) = response.change_peer_v2 {
        let show = |change: &pdpb::ChangePeer| {
            let peer = change.peer.unwrap();
            format!("{:?} {}@{}", change.change_type(), peer.id, peer.store_id)
        };
        let shown: Vec<_> = changes.changes.iter().map(show).collect();
        return format!("change region {id}: {shown:?}");
    }
    match response.transfer_leader {
        Some(transfer) => {
            let to = transfer.peer.unwrap().store_id;
            format!("transfer region {id} to store {to}")
        }
        None => "ok".to_owned(),
    }
}
