//! The chart: what its values, their schema and its templates say of each other; rendered, the plain manifests.
//!
//! *Life of a check*: without Helm, every value that a template names is there, every value that is there is named,
//! and the schema has just these. With Helm, the chart is linted and rendered: with default values it gives the plain
//! manifests, but for the labels in [`OWN_LABELS`]; with others it still gives what Kubernetes takes.
//!
//! *Next stop*: [`crate::compose`].

use crate::files::{below, documents, one_yaml, run, said, text, version};
use crate::kubernetes::{complaints, differences, fit, name, plain};
use crate::settings;
use serde_json::Value;
use std::collections::BTreeSet;

const CHART: &str = "deploy/helm/yadkv";
/// What only objects of a chart have.
const OWN_LABELS: &[&str] = &[
    "helm.sh/chart",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
];
/// Values that are taken as they are: templates name none of what is in them.
const OPAQUE: &[&str] = &[
    "settings",
    "extraArgs",
    "extraVolumes",
    "extraVolumeMounts",
    "resources",
    "nodeSelector",
    "tolerations",
    "podAnnotations",
    "imagePullSecrets",
];

fn values() -> Value {
    one_yaml(&format!("{CHART}/values.yaml"))
}

/// Places of all values, in dots.
fn places(value: &Value, place: &str, found: &mut BTreeSet<String>) {
    let last = place.rsplit('.').next().unwrap_or_default();
    match value {
        Value::Object(fields) if !OPAQUE.contains(&last) => {
            for (key, value) in fields {
                let place = format!("{place}.{key}");
                places(value, place.trim_start_matches('.'), found);
            }
        }
        _ => drop(found.insert(place.into())),
    }
}

/// Places that templates name; what helpers take from either part (`.values`) counts for both.
fn named(templates: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '.');
    for (mark, parts) in [(".Values.", &[""][..]), (".values.", &["pd.", "store."])] {
        for rest in templates.split(mark).skip(1) {
            let place = rest.split(ends).next().unwrap_or_default();
            found.extend(parts.iter().map(|part| format!("{part}{place}")));
        }
    }
    // The parts themselves are handed to helpers.
    found.retain(|place| place != "pd" && place != "store");
    found
}

/// Where the schema has other values than the file.
fn schema_complaints(schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let kind = match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "integer",
        Value::Bool(_) => "boolean",
        Value::Null => "null",
    };
    if schema["type"] != kind {
        found.push(format!("{place}: {kind} is not {}", schema["type"]));
    }
    let (Some(fields), Some(known)) = (value.as_object(), schema["properties"].as_object()) else {
        return;
    };
    if schema["additionalProperties"] != false {
        found.push(format!("{place}: takes any name"));
    }
    for (key, value) in fields {
        match known.get(key) {
            Some(schema) => schema_complaints(schema, value, &format!("{place}.{key}"), found),
            None => found.push(format!("{place}.{key}: not in the schema")),
        }
    }
    let others = known.keys().filter(|key| !fields.contains_key(*key));
    for other in others.filter(|key| *key != "global") {
        found.push(format!("{place}.{other}: not in values.yaml"));
    }
}

fn schema() -> Value {
    serde_json::from_str(&text(&format!("{CHART}/values.schema.json"))).unwrap()
}

#[test]
fn the_schema_has_just_the_values() {
    let mut found = Vec::new();
    schema_complaints(&schema(), &values(), "", &mut found);
    assert_eq!(found, [""; 0]);
    let mut values = values();
    values["pd"]["replica"] = Value::from(3);
    values["store"]["minReadySeconds"] = Value::from("5");
    values["store"]["storage"].as_object_mut().unwrap().clear();
    schema_complaints(&schema(), &values, "", &mut found);
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn templates_name_just_the_values() {
    let files = below(&format!("{CHART}/templates"));
    let templates: String = files.iter().map(|path| text(path)).collect();
    let mut there = BTreeSet::new();
    places(&values(), "", &mut there);
    assert_eq!(named(&templates), there);
    let typed = templates.replace("antiAffinity", "antiAfinity");
    assert_ne!(named(&typed), there);
}

#[test]
fn the_chart_is_of_this_version() {
    let chart = one_yaml(&format!("{CHART}/Chart.yaml"));
    assert_eq!(chart["version"], version());
    assert_eq!(chart["appVersion"], version());
}

/// The chart's objects with other values, if Helm is there.
fn rendered(arguments: &[&str]) -> Option<Result<Vec<Value>, String>> {
    // Not the version that Helm was built for.
    let first = [
        "template",
        "yadkv",
        CHART,
        "--namespace=yadkv",
        "--kube-version=1.33.0",
    ];
    let all: Vec<_> = first.iter().chain(arguments).copied().collect();
    let output = run("helm", &all, "what the chart gives when it is rendered")?;
    Some(match output.status.success() {
        true => Ok(documents(CHART, &String::from_utf8_lossy(&output.stdout))),
        false => Err(said(&output)),
    })
}

#[test]
fn the_chart_gives_the_plain_manifests() {
    let Some(objects) = rendered(&[]) else { return };
    let mut objects = objects.unwrap();
    for object in &mut objects {
        let labels = object["metadata"]["labels"].as_object_mut().unwrap();
        labels.retain(|label, _| !OWN_LABELS.contains(&label.as_str()));
    }
    let mut plain = plain();
    // Helm is told which namespace to make.
    plain.retain(|object| object["kind"] != "Namespace");
    for list in [&mut objects, &mut plain] {
        list.sort_by_key(name);
    }
    let mut found = Vec::new();
    differences("", &Value::from(plain), &Value::from(objects), &mut found);
    assert_eq!(found, [""; 0]);
    let output = run("helm", &["lint", "--strict", CHART], "the chart").unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// Everything that a pod needs for them, or nothing: what is left out is found only where it runs.
#[test]
fn a_secret_turns_certificates_on_everywhere() {
    let Some(objects) = rendered(&["--set", "tls.secret=certificates"]) else {
        return;
    };
    let objects = objects.unwrap();
    let sets: Vec<_> = objects
        .iter()
        .filter(|object| object["kind"] == "StatefulSet")
        .collect();
    assert_eq!(sets.len(), 2);
    for set in sets {
        let template = &set["spec"]["template"];
        let annotations = &template["metadata"]["annotations"];
        assert_eq!(annotations["prometheus.io/scheme"], "https");
        let pod = &template["spec"];
        let volume = &pod["volumes"][0];
        assert_eq!(volume["secret"]["secretName"], "certificates", "{pod}");
        let container = &pod["containers"][0];
        let mounts = container["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["name"] == volume["name"]);
        let place = mount.unwrap()["mountPath"].as_str().unwrap();
        let arguments: Vec<_> = container["args"].as_array().unwrap().iter().collect();
        for (flag, file) in [("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")] {
            let wanted = Value::from(format!("--tls-{flag}={place}/{file}"));
            assert!(arguments.contains(&&wanted), "{wanted}: {arguments:?}");
            let variable = Value::from(format!("YADKV_TLS_{}", flag.to_uppercase()));
            let environment = container["env"].as_array().unwrap();
            let found = environment.iter().find(|one| one["name"] == variable);
            assert_eq!(found.unwrap()["value"], format!("{place}/{file}"));
        }
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS", "{probe}");
        }
    }
}

#[test]
fn the_chart_takes_other_values() {
    let others: [&[&str]; 5] = [
        &["--set", "tls.secret=certificates"],
        &[
            "--set",
            "antiAffinity=preferred,pd.replicas=1,store.replicas=1",
        ],
        &["--set", "pd.replicas=5", "--set", "image.tag=1.2.3"],
        &[
            "--set",
            "pd.settings.schedule\\.interval=2s",
            "--set",
            "store.storage.className=fast",
        ],
        &[
            "--set-json",
            "store.extraVolumes=[{\"name\":\"tls\",\"secret\":{\"secretName\":\"tls\"}}]",
            "--set-json",
            "store.extraVolumeMounts=[{\"name\":\"tls\",\"mountPath\":\"/tls\"}]",
            "--set-json",
            "store.podAnnotations={\"note\":\"1\"}",
            "--set-json",
            "imagePullSecrets=[{\"name\":\"pull\"}]",
            "--set-json",
            "pd.tolerations=[{\"key\":\"db\",\"operator\":\"Exists\"}]",
            "--set-json",
            "pd.nodeSelector={\"disk\":\"fast\"}",
            "--set-json",
            "store.extraArgs=[\"--set=store.workers=2\"]",
        ],
    ];
    for arguments in others {
        let Some(objects) = rendered(arguments) else {
            return;
        };
        let objects = objects.unwrap();
        let found: Vec<_> = objects.iter().flat_map(complaints).collect();
        assert_eq!(found, [""; 0], "{arguments:?}");
        assert_eq!(fit(&objects), [""; 0], "{arguments:?}");
        for start in settings::starts(&objects) {
            assert_eq!(settings::complaints(&start), [""; 0], "{arguments:?}");
        }
    }
    for wrong in [
        "tls.secert=a",
        "pd.replicas=2",
        "pd.replica=3",
        "antiAffinity=no",
        "store.settings.memory=1GiB",
    ] {
        let refused = rendered(&["--set", wrong]).unwrap();
        assert!(refused.is_err(), "{wrong}");
    }
}
