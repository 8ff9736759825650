//! The settings in force, and their change.
//!
//! *Types to know*: [`Live`]; [`Changeable`], one setting that may change while the server runs.
//!
//! *Life of a change*: every setting of it is one that may change, and is read as a file's → the settings in force with them
//! in their places are validated → whoever must take them is told → they are in force, and whoever watches sees them.
//!
//! *Invariants*: one change at a time; all of it, or nothing.
//!
//! *Limits and failure*: a [`Refusal`] names setting, value and what is allowed.
//!
//! *Next stop*: [`crate::page`].

use crate::written::Written;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::{Mutex, watch};
use toml::Table;

/// A setting that may change while the server runs.
#[derive(Debug)]
pub struct Changeable<C> {
    /// `section.field`.
    pub name: &'static str,
    /// Copies it from another configuration.
    pub take: fn(to: &mut C, from: &C),
}

/// A list of [`Changeable`]: `changeable![region.split_size, region.split_keys]`.
#[macro_export]
macro_rules! changeable {
    ($($section:ident.$field:ident),* $(,)?) => {
        &[$($crate::live::Changeable {
            name: concat!(stringify!($section), ".", stringify!($field)),
            take: |to, from| to.$section.$field.clone_from(&from.$section.$field),
        }),*]
    };
}

/// Why a change was not taken: nothing has changed. Shown to whoever wanted it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing by that name.
    #[error("{0} is no setting of this server: `yadkv ctl config show` lists them")]
    Unknown(String),
    /// It may not change.
    #[error(
        "{name} = {value} cannot be set while the server runs: put it in its file and start it anew"
    )]
    Restart {
        /// The setting.
        name: String,
        /// What was wanted.
        value: String,
    },
    /// It cannot be read.
    #[error("{name} = {value} is not allowed: {reason}")]
    Value {
        /// The setting.
        name: String,
        /// What was wanted.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// With the others in force it is out of range: as validation says it.
    #[error("{0}")]
    Range(String),
    /// The server cannot take it now: try again.
    #[error("{0}")]
    Busy(String),
}

/// A setting as it is shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `section.field`.
    pub name: String,
    /// In force.
    pub value: Value,
    /// Whether it may change while the server runs.
    pub online: bool,
    /// What it was when the server started, if that was something else.
    pub start: Option<Value>,
}

/// Tells whoever must take the settings before they count as in force.
pub type Tell<C> = dyn Fn(C) -> BoxFuture<'static, Result<(), Refusal>> + Send + Sync;

/// What a server's settings are, and were.
pub struct Live<C: 'static> {
    start: C,
    now: watch::Sender<C>,
    changeable: &'static [Changeable<C>],
    validate: fn(&C) -> Result<(), String>,
    tell: Box<Tell<C>>,
    one: Mutex<()>,
}

impl<C: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Live<C> {
    /// The settings of the start, which of them may change, what all of them must fulfil, and who is told of a change.
    pub fn new(
        start: C,
        changeable: &'static [Changeable<C>],
        validate: fn(&C) -> Result<(), String>,
        tell: Box<Tell<C>>,
    ) -> Self {
        Self {
            now: watch::Sender::new(start.clone()),
            start,
            changeable,
            validate,
            tell,
            one: Mutex::new(()),
        }
    }

    /// What is in force now, and a way to see when that changes.
    pub fn watch(&self) -> watch::Receiver<C> {
        self.now.subscribe()
    }

    /// All settings, in the order of their names.
    pub fn show(&self) -> Result<Vec<Row>, serde_json::Error> {
        let start = named(&self.start)?;
        let now = named(&*self.now.borrow())?;
        let rows = now.into_iter().zip(start);
        let row = |((name, value), (_, start)): ((String, Value), (String, Value))| Row {
            online: self.find(&name).is_some(),
            start: (start != value).then_some(start),
            name,
            value,
        };
        Ok(rows.map(row).collect())
    }

    /// Takes all of these settings, or none. The last one of a name counts.
    pub async fn change(&self, wanted: &[Written]) -> Result<(), Refusal> {
        let _one = self.one.lock().await;
        let mut changed = self.now.borrow().clone();
        for written in wanted {
            self.place(written, &mut changed)?;
        }
        (self.validate)(&changed).map_err(Refusal::Range)?;
        (self.tell)(changed.clone()).await?;
        self.now.send_replace(changed);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&Changeable<C>> {
        self.changeable.iter().find(|one| one.name == name)
    }

    /// Reads one setting as a file's and puts it in its place.
    fn place(&self, written: &Written, changed: &mut C) -> Result<(), Refusal> {
        let name = written.name.clone();
        let value = match &written.value {
            toml::Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let Some(setting) = self.find(&name) else {
            let known = named(&self.start).unwrap_or_default();
            return Err(match known.iter().any(|(known, _)| *known == name) {
                true => Refusal::Restart { name, value },
                false => Refusal::Unknown(name),
            });
        };
        let mut file = Table::new();
        let read = match written.clone().put(&mut file) {
            Ok(()) => file.try_into::<C>().map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let read = read.map_err(|reason| Refusal::Value {
            name,
            value,
            // Of several lines the first says what is wrong.
            reason: reason.lines().next().unwrap_or_default().to_owned(),
        })?;
        (setting.take)(changed, &read);
        Ok(())
    }
}

/// The fields of every section, by name.
pub fn named<C: Serialize>(config: &C) -> Result<Vec<(String, Value)>, serde_json::Error> {
    let Value::Object(sections) = serde_json::to_value(config)? else {
        return Ok(Vec::new());
    };
    let mut fields = Vec::new();
    for (section, inside) in sections {
        if let Value::Object(inside) = inside {
            let of_section = inside
                .into_iter()
                .map(|(field, value)| (format!("{section}.{field}"), value));
            fields.extend(of_section);
        }
    }
    Ok(fields)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use serde::Deserialize;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub(crate) struct Config {
        pub(crate) region: Region,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    pub(crate) struct Region {
        pub(crate) log: u64,
        pub(crate) lag: u64,
        pub(crate) tick: u64,
    }

    /// `lag` is at least `log`.
    pub(crate) fn live(tell: Box<Tell<Config>>) -> Live<Config> {
        let validate = |config: &Config| match config.region.lag >= config.region.log {
            true => Ok(()),
            false => Err("region.lag: at least region.log".into()),
        };
        Live::new(
            Config::default(),
            changeable![region.log, region.lag],
            validate,
            tell,
        )
    }

    pub(crate) fn nobody() -> Box<Tell<Config>> {
        Box::new(|_| Box::pin(async { Ok(()) }))
    }

    fn written(texts: &[&str]) -> Vec<Written> {
        texts
            .iter()
            .map(|text| Written::parse(text).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn all_of_a_change_or_nothing_is_taken() {
        let live = live(nobody());
        let watch = live.watch();
        for (wanted, reason) in [
            (
                &["region.lag=9", "region.log=10"][..],
                "region.lag: at least region.log",
            ),
            (
                &["region.lag=9", "region.tick=1"],
                "region.tick = 1 cannot be set while the server runs: put it in its file and start it anew",
            ),
            (
                &["region.lag=9", "region.none=1"],
                "region.none is no setting of this server: `yadkv ctl config show` lists them",
            ),
            (&["region.lag=9", "region.log=much"], "region.log = much is"),
            (&["region.lag=-1"], "region.lag = -1 is not allowed"),
        ] {
            let refusal = live.change(&written(wanted)).await.unwrap_err();
            assert!(refusal.to_string().starts_with(reason), "{refusal}");
            assert_eq!(*watch.borrow(), Config::default(), "{wanted:?}");
        }
        // Each alone would be refused, or is what the other needs.
        let wanted = written(&["region.log=4", "region.log=10", "region.lag=10"]);
        live.change(&wanted).await.unwrap();
        assert!(watch.has_changed().unwrap());
        let region = watch.borrow().region.clone();
        assert_eq!((region.log, region.lag, region.tick), (10, 10, 0));
        let shown = live.show().unwrap();
        let shown: Vec<_> = shown
            .iter()
            .map(|row| (row.name.as_str(), row.online, row.start.is_some()))
            .collect();
        let expected = [
            ("region.lag", true, true),
            ("region.log", true, true),
            ("region.tick", false, false),
        ];
        assert_eq!(shown, expected);
    }

    #[tokio::test]
    async fn what_cannot_be_told_is_not_in_force() {
        let busy = Arc::new(AtomicBool::new(true));
        let asked = busy.clone();
        let tell = move |_: Config| -> BoxFuture<'static, Result<(), Refusal>> {
            let busy = asked.load(Ordering::Relaxed);
            Box::pin(async move {
                match busy {
                    true => Err(Refusal::Busy("later".into())),
                    false => Ok(()),
                }
            })
        };
        let live = live(Box::new(tell));
        let wanted = written(&["region.lag=9"]);
        let refused = live.change(&wanted).await;
        assert_eq!(refused, Err(Refusal::Busy("later".into())));
        assert_eq!(live.watch().borrow().region.lag, 0);
        busy.store(false, Ordering::Relaxed);
        live.change(&wanted).await.unwrap();
        assert_eq!(live.watch().borrow().region.lag, 9);
    }
}
