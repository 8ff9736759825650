//! Runs every scenario of `tests/scripts` and compares what happens with what the script says.
//!
//! | command | |
//! |---|---|
//! | `cluster voters=3 [learners=0]` | a new cluster, nobody leads |
//! | `campaign N` · `propose N DATA…` · `read N` · `transfer N to=M` | an input of node N |
//! | `tick_alone N [COUNT]` | time passes for all, N alone notices; messages wait |
//! | `tick [COUNT]` | everybody ticks, all messages are delivered after each |
//! | `time MS` | time passes, nobody ticks |
//! | `deliver` | all messages are delivered until nothing moves |
//! | `hold KIND` · `release` · `drop` | keep messages of a kind back, let them go, lose them |
//! | `cut N…` · `heal` | nodes N… reach each other only |
//! | `crash N` · `power_loss N [keep=0]` · `start N` | the process ends, and the machine |
//! | `change N v4 l3` · `change N leave` | proposes: 4 votes and 3 learns, in one joint step; ends it |
//! | `truncate N INDEX` | takes entries out of the log of N |
//! | `join N` | a machine without state |
//! | `snapshot` / `snapshot lost` | the oldest snapshot under way arrives, or not |
//! | `trace on` / `trace off` | show messages |
//! | `status` · `log N` | show what nodes know |
//!
//! `UPDATE_GOLDENFILES=1 cargo test` rewrites the scripts.
#![allow(clippy::unwrap_used)]

mod harness;

use goldenscript::{ArgumentConsumer, Command, Context, Runner};
use harness::{Cluster, kind_number};
use std::error::Error;
use std::fmt::Write as _;
use yadkv_consensus::Node;
use yadkv_engine::{Durability, LogEngine as _, WriteBatch};
use yadkv_proto::id::{Index, PeerId};

type Answer = Result<(), Box<dyn Error>>;

struct Script {
    cluster: Cluster,
}

impl Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let name = command.name.as_str();
        if !self.command(name, &mut args)? {
            let id = args.next_pos().ok_or("which node?")?.parse()?;
            self.node_command(id, name, &mut args)?;
        }
        args.reject_next()?;
        Ok(std::mem::take(&mut self.cluster.log))
    }
}

fn count(args: &mut ArgumentConsumer<'_>) -> Result<u64, Box<dyn Error>> {
    Ok(args.next_pos().unwrap_or("1").parse()?)
}

impl Script {
    /// Runs a command about the whole cluster; false if it is none.
    fn command(
        &mut self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<bool, Box<dyn Error>> {
        let cluster = &mut self.cluster;
        match name {
            "cluster" => {
                let voters = args.take_key("voters").unwrap_or("3").parse()?;
                let learners = args.take_key("learners").unwrap_or("0").parse()?;
                *cluster = Cluster::new(voters, learners);
            }
            "tick" => (0..count(args)?).for_each(|_| cluster.tick_all()),
            "time" => cluster.advance(count(args)?),
            "deliver" => cluster.deliver_all(),
            "hold" => {
                let kind = kind_number(args.next_pos().ok_or("kind?")?).ok_or("kind?")?;
                cluster.hold_kinds.insert(kind);
            }
            "release" => {
                cluster.hold_kinds.clear();
                cluster.network.extend(cluster.held.drain(..));
            }
            "drop" => {
                cluster.hold_kinds.clear();
                cluster.held.clear();
            }
            "cut" => {
                let mut island = Vec::new();
                while let Some(id) = args.next_pos() {
                    island.push(id.parse::<u64>()?);
                }
                for a in cluster.machines.keys().copied() {
                    for b in cluster.machines.keys().copied() {
                        if island.contains(&a) != island.contains(&b) {
                            cluster.cuts.insert((a, b));
                        }
                    }
                }
            }
            "heal" => cluster.cuts.clear(),
            "join" => cluster.join(args.next_pos().ok_or("which node?")?.parse()?),
            "snapshot" => {
                let lost = args.next_pos() == Some("lost");
                cluster.deliver_snapshot(!lost);
            }
            "trace" => cluster.trace = args.next_pos() == Some("on"),
            "status" => self.status(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn node_command(&mut self, id: u64, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let cluster = &mut self.cluster;
        let now = cluster.now;
        match name {
            "campaign" => cluster.node(id).campaign(now),
            "propose" => {
                while let Some(data) = args.next_pos() {
                    let (term, index) = cluster.propose(id, data)?;
                    let _ = writeln!(cluster.log, "{id} proposes {index} in {term}");
                }
            }
            "change" => {
                let mut words = Vec::new();
                while let Some(word) = args.next_pos() {
                    words.push(word.to_owned());
                }
                let text = words.join(" ");
                let change = harness::parse_change(text.as_bytes());
                let node = cluster.node(id);
                let proposal = node.propose_change(&change, text.into(), now)?;
                let _ = writeln!(cluster.log, "{id} proposes {}", proposal.index);
            }
            "truncate" => {
                let index = Index(args.next_pos().ok_or("where?")?.parse()?);
                let mut batch = WriteBatch::new();
                cluster.node(id).truncate(index, &mut batch);
                let disk = &cluster.machines[&id].disk;
                disk.write(batch, Durability::Synced)?;
            }
            "needed" => {
                let needed = cluster.node(id).replicated_index_within(0);
                let _ = writeln!(cluster.log, "{id} needs what comes after {needed:?}");
            }
            "read" => {
                let token = cluster.node(id).read_index(now)?;
                let _ = writeln!(cluster.log, "{id} read {} begins", token.0);
            }
            "transfer" => {
                let to = args.take_key("to").ok_or("to?")?.parse()?;
                cluster.node(id).transfer_leader(PeerId(to), now)?;
            }
            "tick_alone" => {
                for _ in 0..count(args)? {
                    cluster.advance(100);
                    let now = cluster.now;
                    cluster.node(id).tick(now);
                    cluster.work(id);
                }
            }
            "crash" => {
                cluster.stop(id, None);
                return Ok(());
            }
            "power_loss" => {
                let keep = args.take_key("keep").unwrap_or("0").parse()?;
                cluster.stop(id, Some(keep));
                return Ok(());
            }
            "start" => cluster.start(id),
            "log" => {
                self.show_log(id);
                return Ok(());
            }
            other => return Err(format!("unknown command {other}").into()),
        }
        cluster.work(id);
        Ok(())
    }

    fn show_log(&mut self, id: u64) {
        let node = self.cluster.node(id);
        let mut line = format!("{id}");
        for index in node.truncated_index().0..=node.last_index().0 {
            let term = node.term_at(Index(index)).unwrap();
            let _ = write!(line, " {index}/{}", term.0);
        }
        let _ = writeln!(self.cluster.log, "{line}");
    }

    fn status(&mut self) {
        let now = self.cluster.now;
        let mut lines = String::new();
        for (id, machine) in &self.cluster.machines {
            let Some(node) = &machine.node else {
                let _ = writeln!(lines, "{id} down");
                continue;
            };
            let _ = writeln!(
                lines,
                "{id} {:?} {} last={} commit={} applied={} {}",
                node.role(),
                node.term(),
                node.last_index().0,
                node.commit().0,
                node.applied_index().0,
                lease(node, now)
            );
        }
        self.cluster.log.push_str(&lines);
    }
}

fn lease(node: &Node, now: yadkv_proto::time::Moment) -> String {
    match node.lease() {
        None => "no lease".to_owned(),
        Some(until) if until <= now => "lease over".to_owned(),
        Some(until) => format!("lease for {} ms", until.since(now).as_millis()),
    }
}

#[test]
fn scripts() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let mut script = Script {
            cluster: Cluster::new(3, 0),
        };
        goldenscript::run(&mut script, &path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
