//! `yadkv ctl config`: the servers' settings, and others for them until they start anew.
//!
//! *Life of a change*: the servers that the settings are for → each is sent its own, as one change → what each says.
//!
//! *Invariants*: each server takes all that it is sent, or nothing. A setting that is nobody's is sent to nobody.
//!
//! *Limits and failure*: one server may take what another one does not: the command goes on, shows what each says, and fails
//! at its end. A server that was down has the settings of its file when it comes back.
//!
//! *Next stop*: `yadkv_settings::page`.

use super::map;
use super::servers::{Kind, Server, Whom, servers};
use super::table::{Shown, columns, text};
use crate::commands::Servers;
use crate::commands::http::ask;
use crate::failure::{Context, Failure, Outcome};
use clap::Subcommand;
use futures::future::join_all;
use hyper::Method;
use serde_json::{Map, Value, json};
use yadkv_settings::written::Written;

const PATH: &str = "/config";

#[derive(Debug, Subcommand)]
pub(super) enum ConfigAction {
    /// What is in force, on all servers or on one.
    Show {
        #[command(flatten)]
        whom: Whom,
    },
    /// Sets settings until the servers start anew: schedule.* and log.* on all placement drivers, region.* and store.* on
    /// all stores, or on one server.
    Set {
        /// For example region.split_size=1MiB.
        #[arg(required = true, value_name = "NAME=VALUE")]
        settings: Vec<String>,
        #[command(flatten)]
        whom: Whom,
    },
}

/// What the servers said.
pub(super) struct Said {
    pub(super) shown: Shown,
    /// Servers that did not do what they were asked, and why; those with the same reason together.
    pub(super) failed: Vec<String>,
}

pub(super) async fn run(pd: &Servers, action: &ConfigAction) -> Outcome<Said> {
    let (whom, settings) = match action {
        ConfigAction::Show { whom } => (whom, None),
        ConfigAction::Set { settings, whom } => (whom, Some(written(settings)?)),
    };
    if let (None, Some(settings)) = (whom.only(), &settings) {
        settings.iter().try_for_each(|one| owner(one).map(|_| ()))?;
    }
    let mut asked = Vec::new();
    for server in servers(pd, whom).await? {
        let body = match &settings {
            None => None,
            Some(settings) => match body(settings, &server, whom)? {
                Some(body) => Some(body),
                // There is nothing for it.
                None => continue,
            },
        };
        asked.push((server, body));
    }
    let answers = asked.into_iter().map(async |(server, body)| {
        let method = body.as_ref().map_or(Method::GET, |_| Method::PUT);
        let said = match &server.address {
            Ok(address) => ask(&pd.at(address), method, PATH, body).await,
            Err(reason) => Err(Failure(reason.clone())),
        };
        (server.name(), said)
    });
    let said = join_all(answers).await;
    Ok(describe(said, settings.is_some()))
}

fn written(settings: &[String]) -> Outcome<Vec<Written>> {
    let read = |text: &String| Written::parse(text).context("settings");
    settings.iter().map(read).collect()
}

/// Whose setting it is.
fn owner(setting: &Written) -> Outcome<Kind> {
    match setting.name.split('.').next() {
        Some("schedule" | "log" | "pd" | "bootstrap") => Ok(Kind::Member),
        Some("region" | "store") => Ok(Kind::Store),
        _ => Err(Failure(format!(
            "{} is nobody's setting: placement drivers have schedule.*, log.*, pd.* and bootstrap.*, stores have region.* \
             and store.*",
            setting.name
        ))),
    }
}

/// What a server is sent: its settings, or all if it was named.
fn body(settings: &[Written], server: &Server, whom: &Whom) -> Outcome<Option<Value>> {
    let mut wanted = Map::new();
    for setting in settings {
        if whom.only().is_some() || owner(setting)? == server.kind {
            let value = serde_json::to_value(&setting.value).context(&setting.name)?;
            wanted.insert(setting.name.clone(), value);
        }
    }
    Ok((!wanted.is_empty()).then_some(Value::Object(wanted)))
}

fn describe(said: Vec<(String, Outcome<Value>)>, is_change: bool) -> Said {
    let (mut rows, mut cells) = (Vec::new(), Vec::<Vec<String>>::new());
    let mut failed = Vec::<(String, String)>::new();
    let mut lasts = None;
    for (server, answer) in said {
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                let reason = reason.to_string();
                rows.push(json!({ "server": server, "error": reason }));
                match failed.iter_mut().find(|(_, known)| *known == reason) {
                    Some((servers, _)) => *servers = format!("{servers}, {server}"),
                    None => failed.push((server, reason)),
                }
                continue;
            }
        };
        lasts = lasts.or(answer["lasts"].as_str().map(str::to_owned));
        for mut setting in map::items(&mut answer["settings"]) {
            let shown = [&setting["name"], &setting["value"]].map(text);
            let online = match setting["online"] == true {
                true => "online",
                false => "restart",
            };
            let own = [&shown[..], &[online.into(), text(&setting["start"])]].concat();
            // Servers that agree share a line.
            match cells.iter_mut().find(|line| line[..4] == own[..]) {
                Some(line) => line[4] = format!("{}, {server}", line[4]),
                None => cells.push([own, vec![server.clone()]].concat()),
            }
            setting["server"] = json!(server);
            setting["error"] = Value::Null;
            if is_change {
                setting["lasts"] = json!(lasts);
            }
            rows.push(setting);
        }
    }
    let names = ["NAME", "VALUE", "CHANGES", "AT START", "SERVERS"];
    let mut people = match cells.is_empty() {
        true => Vec::new(),
        false => columns(&names, &cells),
    };
    people.extend(lasts.filter(|_| is_change));
    let failed = failed.into_iter();
    let failed = failed.map(|(servers, reason)| format!("{servers}: {reason}"));
    Said {
        shown: Shown::both(rows, people),
        failed: failed.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_agree_share_a_line() {
        let setting = |value: &str, start: Value| {
            let row = json!({ "name": "region.split_size", "value": value, "online": true, "start": start });
            Ok(json!({ "settings": [row], "lasts": "until then" }))
        };
        let said = describe(
            vec![
                ("store 1".into(), setting("1MiB", json!("2MiB"))),
                ("store 2".into(), setting("2MiB", Value::Null)),
                ("store 3".into(), setting("1MiB", json!("2MiB"))),
                ("store 4".into(), Err(Failure("is down".into()))),
                ("store 5".into(), Err(Failure("is down".into()))),
            ],
            true,
        );
        let people = said.shown.people.unwrap_or_default();
        assert_eq!(
            people,
            [
                "NAME               VALUE  CHANGES  AT START  SERVERS",
                "region.split_size  1MiB   online   2MiB      store 1, store 3",
                "region.split_size  2MiB   online   -         store 2",
                "until then",
            ]
        );
        assert_eq!(said.failed, ["store 4, store 5: is down"]);
        assert_eq!(said.shown.rows.len(), 5);
    }

    #[test]
    fn each_server_is_sent_its_own() {
        let settings = ["region.split_keys=5", "schedule.balance_leaders=false"];
        let settings = written(&settings.map(String::from)).expect("well formed");
        let server = |kind| Server {
            kind,
            id: 1,
            address: Ok(String::new()),
        };
        let sent = |kind, whom| body(&settings, &server(kind), &whom).expect("known");
        let everybody = Whom::default();
        assert_eq!(
            sent(Kind::Store, everybody),
            Some(json!({ "region.split_keys": 5 }))
        );
        assert_eq!(
            sent(Kind::Member, everybody),
            Some(json!({ "schedule.balance_leaders": false }))
        );
        // It says itself that one of them is not its own.
        let one = Whom {
            store: Some(1),
            member: None,
        };
        let both = sent(Kind::Store, one).expect("something");
        assert_eq!(both.as_object().map(Map::len), Some(2));
        let unknown = written(&["regions.split_keys=5".into()]).expect("well formed");
        assert!(body(&unknown, &server(Kind::Store), &everybody).is_err());
    }
}
