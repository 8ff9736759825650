//! Flags and settings that deployment files name, against the sources that define them.
//!
//! *Life of a name*: the fields of the servers' `Config` structs, read as text → `section.field` with the kind of its
//! value → looked up for each `--set` and each line of a settings file. Flags likewise, from the struct that the
//! command line is parsed into. So the servers, and RocksDB with them, need not be built for it.
//!
//! *Limits*: kinds of values are checked, not ranges and relations. A section whose struct is in another file than the
//! rest is not known, a value of a type that is new is not judged.
//!
//! *Next stop*: [`crate::units`].

use crate::files::{manifest, root, string, strings};
use crate::{compose, kubernetes};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use toml::Value;

/// What a server is started with, and where that is written.
pub(crate) struct Start {
    /// File and object.
    pub(crate) place: String,
    /// `pd` or `store`, then flags.
    pub(crate) arguments: Vec<String>,
}

/// The containers of Kubernetes objects.
pub(crate) fn starts(objects: &[Json]) -> Vec<Start> {
    let sets = objects.iter().filter(|one| one["kind"] == "StatefulSet");
    let start = |set: &Json| Start {
        place: kubernetes::name(set),
        arguments: strings(set.pointer("/spec/template/spec/containers/0/args")),
    };
    sets.map(start).collect()
}

/// The kinds of values that settings have.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Text,
    Number,
    Truth,
    List,
    Size,
    Time,
    /// Of a type that is not known here: not judged.
    Any,
}

/// What a server knows: setting to kind.
pub(crate) struct Names {
    flags: Vec<String>,
    settings: BTreeMap<String, Kind>,
}

impl Names {
    /// Those of `pd` or `store`.
    pub(crate) fn of(server: &str) -> Self {
        let folder = match server {
            "pd" => "placement-driver",
            "store" => "storage-node",
            other => panic!("{other}: no server"),
        };
        let mut config = structs(&format!("{folder}/server/src/config.rs"));
        // The section that both have in common.
        let common = structs("tls/src/settings.rs").remove("Settings");
        config.insert("TlsSection".into(), common.unwrap());
        let mut settings = BTreeMap::new();
        for (section, of) in &config["Config"] {
            for (field, of) in config.get(of).into_iter().flatten() {
                settings.insert(format!("{section}.{field}"), kind(of));
            }
        }
        let own = &structs("cli/src/server/mod.rs")["ServerArgs"];
        let certificates = &structs("cli/src/tls.rs")["TlsArgs"];
        let flags = own
            .iter()
            .chain(certificates)
            .map(|(field, _)| format!("--{}", field.replace('_', "-")));
        Self {
            flags: flags.collect(),
            settings,
        }
    }

    /// What is wrong with a setting.
    fn complaint(&self, name: &str, value: &Value) -> Option<String> {
        let Some(kind) = self.settings.get(name) else {
            return Some(format!("{name}: no such setting"));
        };
        let fits = match (kind, value) {
            (Kind::Any, _)
            | (Kind::Text, Value::String(_))
            | (Kind::Number, Value::Integer(_))
            | (Kind::Truth, Value::Boolean(_)) => true,
            (Kind::List, Value::Array(list)) => list.iter().all(|one| one.is_str()),
            (Kind::Size, Value::String(text)) => has_unit(text, &["B", "KiB", "MiB", "GiB", "TiB"]),
            (Kind::Time, Value::String(text)) => has_unit(text, &["ms", "s", "m", "min", "h", "d"]),
            _ => false,
        };
        (!fits).then(|| format!("{name}: {value} is no {kind:?}"))
    }

    /// What is wrong with the settings of a file.
    pub(crate) fn file(&self, table: &toml::Table) -> Vec<String> {
        let mut found = Vec::new();
        for (section, fields) in table {
            match fields.as_table() {
                Some(fields) => found.extend(fields.iter().filter_map(|(field, value)| {
                    self.complaint(&format!("{section}.{field}"), value)
                })),
                None => found.push(format!("{section}: no section")),
            }
        }
        found
    }
}

/// What is wrong with how a server is started.
pub(crate) fn complaints(start: &Start) -> Vec<String> {
    let server = start.arguments.first().map_or("", String::as_str);
    if !["pd", "store"].contains(&server) {
        return vec![format!("{}: starts {server:?}", start.place)];
    }
    let names = Names::of(server);
    let mut found = Vec::new();
    for (flag, value) in flags(&start.arguments[1..]) {
        if !names.flags.contains(&flag) {
            found.push(format!("{flag}: no such flag"));
        }
        if flag == "--set" {
            match value.split_once('=') {
                Some((name, value)) => found.extend(names.complaint(name, &written(value))),
                None => found.push(format!("--set {value}: no value")),
            }
        }
        if ["--addr", "--pd"].contains(&flag.as_str()) || value.contains("_addr=") {
            let addresses = value.rsplit('=').next().unwrap_or_default();
            let wrong = addresses.split(',').find(|one| !is_address(one));
            found.extend(wrong.map(|one| format!("{flag} {one}: no host:port")));
        }
    }
    let place = |one| format!("{}: {one}", start.place);
    found.into_iter().map(place).collect()
}

/// Flags with their values, of `--flag=value` and `--flag value`.
fn flags(arguments: &[String]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = arguments.iter();
    while let Some(one) = rest.next() {
        let (flag, value) = match one.split_once('=') {
            Some((flag, value)) => (flag, value.to_string()),
            None => (one.as_str(), rest.next().cloned().unwrap_or_default()),
        };
        found.push((flag.to_string(), value));
    }
    found
}

/// The values of one flag, or of one setting.
pub(crate) fn given(start: &Start, flag: &str) -> Option<String> {
    let all = flags(start.arguments.get(1..).unwrap_or_default());
    let mut found = all.iter().filter_map(|(name, value)| match name.as_str() {
        "--set" => value
            .split_once('=')
            .filter(|(name, _)| *name == flag)
            .map(|(_, value)| value.to_string()),
        name => (name == flag).then(|| value.clone()),
    });
    found.next_back()
}

/// As the command line reads it: a TOML value if it is one, else text.
fn written(value: &str) -> Value {
    let table = format!("value = {value}").parse::<toml::Table>().ok();
    table
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(value.into()))
}

fn has_unit(text: &str, units: &[&str]) -> bool {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    digits.parse::<u64>().is_ok() && units.contains(&text[digits.len()..].trim())
}

/// `host:port`; Kubernetes puts names for `$(…)`.
fn is_address(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or_default();
    !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
}

fn kind(of: &str) -> Kind {
    match of {
        "String" | "PathBuf" => Kind::Text,
        "bool" => Kind::Truth,
        "ByteSize" => Kind::Size,
        "Duration" => Kind::Time,
        "Vec" => Kind::List,
        "u16" | "u32" | "u64" | "usize" => Kind::Number,
        _ => Kind::Any,
    }
}

/// The structs of a source: fields with the last name of their type, in order.
fn structs(path: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let text = std::fs::read_to_string(root().join(path)).unwrap();
    let file = syn::parse_file(&text).unwrap();
    let mut found = BTreeMap::new();
    for item in file.items {
        if let syn::Item::Struct(item) = item {
            let field = |field: syn::Field| {
                let syn::Type::Path(of) = field.ty else {
                    return None;
                };
                let of = of.path.segments.last()?.ident.to_string();
                Some((field.ident?.to_string(), of))
            };
            let fields = item.fields.into_iter().filter_map(field).collect();
            found.insert(item.ident.to_string(), fields);
        }
    }
    found
}

#[test]
fn servers_know_every_flag_and_setting() {
    let mut all = starts(&kubernetes::plain());
    all.extend(compose::starts());
    all.extend(crate::units::starts());
    assert_eq!(all.len(), 2 + 6 + 2);
    for start in &all {
        assert_eq!(complaints(start), [""; 0]);
    }
}

#[test]
fn servers_know_every_setting_of_the_packaged_files() {
    for server in ["pd", "store"] {
        let path = format!("deploy/systemd/{server}.toml");
        let table = manifest(&path);
        assert_eq!(Names::of(server).file(&table), [""; 0], "{path}");
        assert_eq!(
            table[server]["data_dir"].as_str(),
            Some(format!("/var/lib/yadkv/{server}").as_str())
        );
    }
}

#[test]
fn servers_know_every_setting_in_the_values_of_the_chart() {
    let values = crate::files::one_yaml("deploy/helm/yadkv/values.yaml");
    for server in ["pd", "store"] {
        let names = Names::of(server);
        let settings = values[server]["settings"].as_object().unwrap();
        for name in settings.keys() {
            let value = string(&values[server]["settings"], &format!("/{name}"));
            assert_eq!(names.complaint(name, &written(value)), None);
        }
    }
}

#[test]
fn wrong_names_and_values_are_seen() {
    let plants = [
        ("--adr=0.0.0.0:1", "--adr: no such flag"),
        ("--addr=0.0.0.0", "no host:port"),
        ("--set=store.memry=1GiB", "store.memry: no such setting"),
        ("--set=pd.memory=1GiB", "pd.memory: no such setting"),
        ("--set=store.memory=1GB of it", "no Size"),
        ("--set=store.workers=many", "no Number"),
        ("--set=region.tick=100", "no Time"),
        ("--set=store.advertise_addr=host", "no host:port"),
    ];
    for (argument, expected) in plants {
        let start = Start {
            place: "here".into(),
            arguments: vec!["store".into(), argument.into()],
        };
        let found = complaints(&start);
        assert!(
            found.iter().any(|one| one.contains(expected)),
            "{argument}: {found:?}"
        );
    }
    let table = "[store]\nmemory = 5\nmemry = \"1GiB\"".parse().unwrap();
    assert_eq!(Names::of("store").file(&table).len(), 2);
}
