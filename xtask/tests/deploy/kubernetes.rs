//! The plain manifests: each object against the published API, and all of them against each other.
//!
//! *Life of an object*: YAML → the type that is generated from Kubernetes' published OpenAPI description → YAML.
//! What is lost on the way is no field of that type, what is gained is a field that has to be there and is not; a
//! value of another kind does not get through at all.
//!
//! *Limits*: the oldest description that the generated types have, so that no field is newer than that. What the API
//! server judges beyond types (ranges, names, words that must be one of a few) is judged by nobody here, except where
//! a test below does.
//!
//! *Next stop*: [`crate::helm`].

use crate::files::{below, one_yaml, run, said, string, strings, version, yaml};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const FOLDER: &str = "deploy/kubernetes";
/// How long a graceful stop of a server takes at most.
const GRACEFUL_STOP_SECONDS: u64 = 10;

/// All objects of the plain manifests.
pub(crate) fn plain() -> Vec<Value> {
    let files = strings(one_yaml(&format!("{FOLDER}/kustomization.yaml")).get("resources"));
    let paths = files.iter().map(|file| format!("{FOLDER}/{file}"));
    paths.flat_map(|path| yaml(&path)).collect()
}

/// `Kind/name`.
pub(crate) fn name(object: &Value) -> String {
    let (kind, name) = (string(object, "/kind"), string(object, "/metadata/name"));
    format!("{kind}/{name}")
}

/// What is wrong with an object, by the published API.
pub(crate) fn complaints(object: &Value) -> Vec<String> {
    let kind = (
        object["apiVersion"].as_str().unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default(),
    );
    let again = match kind {
        ("v1", "Namespace") => through::<Namespace>(object),
        ("v1", "Service") => through::<Service>(object),
        ("apps/v1", "StatefulSet") => through::<StatefulSet>(object),
        ("policy/v1", "PodDisruptionBudget") => through::<PodDisruptionBudget>(object),
        (version, kind) => Err(format!("no type for {version} {kind}")),
    };
    let mut found = Vec::new();
    match again {
        Ok(again) => differences("", object, &again, &mut found),
        Err(error) => found.push(error),
    }
    found
}

fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(object.clone()).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Where two values differ, in words of [`complaints`].
pub(crate) fn differences(place: &str, given: &Value, typed: &Value, found: &mut Vec<String>) {
    match (given, typed) {
        (Value::Object(given), Value::Object(typed)) => {
            for (key, value) in given {
                let place = format!("{place}.{key}");
                match typed.get(key) {
                    Some(other) => differences(&place, value, other, found),
                    None => found.push(format!("{place}: no such field")),
                }
            }
            let missing = typed.keys().filter(|key| !given.contains_key(*key));
            found.extend(missing.map(|key| format!("{place}.{key}: is missing")));
        }
        (Value::Array(given), Value::Array(typed)) if given.len() == typed.len() => {
            for (at, (value, other)) in given.iter().zip(typed).enumerate() {
                differences(&format!("{place}[{at}]"), value, other, found);
            }
        }
        _ if given == typed => {}
        _ => found.push(format!("{place}: {given} is not {typed}")),
    }
}

/// Whether what objects say of each other holds: selectors, services, ports, volumes.
pub(crate) fn fit(objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let sets: Vec<_> = of_kind(objects, "StatefulSet").collect();
    for set in &sets {
        found.extend(set_fits(set, objects));
    }
    let template = "/spec/template/metadata/labels";
    for (kind, pointer) in [
        ("Service", "/spec/selector"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
    ] {
        for object in of_kind(objects, kind) {
            let chosen = sets.iter().filter(|set| {
                holds(
                    set.pointer(template),
                    object.pointer(pointer).unwrap_or(&Value::Null),
                )
            });
            let chosen: Vec<_> = chosen.collect();
            if chosen.len() != 1 {
                found.push(format!(
                    "{}: selects {} sets of pods",
                    name(object),
                    chosen.len()
                ));
            }
            let ports = object.pointer("/spec/ports").and_then(Value::as_array);
            for port in ports.into_iter().flatten() {
                let wanted = &port["targetPort"];
                if !chosen.iter().any(|set| has_port(set, wanted)) {
                    found.push(format!("{}: no pod has port {wanted}", name(object)));
                }
            }
        }
    }
    found
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn set_fits(set: &Value, objects: &[Value]) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |ok: bool, what: &str| {
        if !ok {
            found.push(format!("{}: {what}", name(set)));
        }
    };
    let labels = set.pointer("/spec/template/metadata/labels");
    let selector = &set["spec"]["selector"]["matchLabels"];
    check(
        holds(labels, selector),
        "its selector does not choose its pods",
    );
    let service = string(set, "/spec/serviceName");
    let mut services = of_kind(objects, "Service");
    let headless = services
        .any(|one| one["metadata"]["name"] == service && one["spec"]["clusterIP"] == "None");
    check(headless, "no headless service of its serviceName");
    let budgets = of_kind(objects, "PodDisruptionBudget");
    let budgets: Vec<_> = budgets
        .filter(|one| &one["spec"]["selector"]["matchLabels"] == selector)
        .collect();
    let one = budgets.len() == 1 && budgets[0]["spec"]["maxUnavailable"] == 1;
    check(one, "no disruption budget of one");
    let pod = &set["spec"]["template"]["spec"];
    let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap_or(0);
    check(
        grace > GRACEFUL_STOP_SECONDS,
        "is killed before it has stopped gracefully",
    );
    let away = &pod["affinity"]["podAntiAffinity"];
    check(
        away.to_string().contains("kubernetes.io/hostname"),
        "its pods may share a machine",
    );
    check(
        set["spec"]["updateStrategy"]["type"] == "RollingUpdate",
        "is not updated one by one",
    );
    check(
        set["spec"]["minReadySeconds"].as_u64() > Some(0),
        "its updates do not wait",
    );
    check(
        pod["securityContext"]["runAsNonRoot"] == true,
        "may run as root",
    );
    for container in pod["containers"].as_array().into_iter().flatten() {
        let context = &container["securityContext"];
        check(
            context["readOnlyRootFilesystem"] == true,
            "its root file system can be written",
        );
        for (probe, path) in [
            ("startupProbe", "/live"),
            ("livenessProbe", "/live"),
            ("readinessProbe", "/ready"),
        ] {
            let get = &container[probe]["httpGet"];
            check(
                get["path"] == path && has_port(set, &get["port"]),
                &format!("{probe} asks elsewhere"),
            );
        }
        check(
            container["resources"]["limits"]["memory"].is_string(),
            "has no limit of memory",
        );
        let claims = set["spec"]["volumeClaimTemplates"].as_array();
        let claimed = |mount: &Value| {
            claims
                .into_iter()
                .flatten()
                .any(|claim| claim["metadata"]["name"] == mount["name"])
        };
        let mounts = container["volumeMounts"].as_array();
        let mut data = mounts
            .into_iter()
            .flatten()
            .filter(|mount| mount["mountPath"] == "/data");
        check(data.any(claimed), "its data are on no claimed volume");
    }
    found
}

fn holds(labels: Option<&Value>, selector: &Value) -> bool {
    let (Some(labels), Some(selector)) = (labels, selector.as_object()) else {
        return false;
    };
    !selector.is_empty() && selector.iter().all(|(key, value)| &labels[key] == value)
}

fn has_port(set: &Value, port: &Value) -> bool {
    let containers = set
        .pointer("/spec/template/spec/containers")
        .and_then(Value::as_array);
    let ports = containers
        .into_iter()
        .flatten()
        .flat_map(|one| one["ports"].as_array().into_iter().flatten());
    let mut ports = ports;
    ports.any(|one| &one["name"] == port || &one["containerPort"] == port)
}

#[test]
fn objects_are_as_the_published_api_wants_them() {
    let objects = plain();
    assert_eq!(objects.len(), 8, "namespace, services, budgets, sets");
    for object in &objects {
        assert_eq!(complaints(object), [""; 0], "{}", name(object));
    }
}

#[test]
fn objects_fit_together() {
    assert_eq!(fit(&plain()), [""; 0]);
}

#[test]
fn the_kustomization_names_every_file_and_this_version() {
    let kustomization = one_yaml(&format!("{FOLDER}/kustomization.yaml"));
    let mut named = strings(kustomization.get("resources"));
    named.push("kustomization.yaml".into());
    named.sort();
    let files: Vec<_> = below(FOLDER);
    let files: Vec<_> = files
        .iter()
        .filter_map(|path| path.rsplit('/').next())
        .collect();
    assert_eq!(named, files);
    assert_eq!(string(&kustomization, "/images/0/newTag"), version());
    let image = format!("yadkv:{}", version());
    for set in of_kind(&plain(), "StatefulSet") {
        assert_eq!(
            string(set, "/spec/template/spec/containers/0/image"),
            image,
            "{}",
            name(set)
        );
    }
    if let Some(output) = run("kubectl", &["kustomize", FOLDER], "kustomization") {
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// An object of the manifests with one change.
fn changed(wanted: &str, pointer: &str, change: impl FnOnce(&mut Value)) -> Vec<Value> {
    let mut objects = plain();
    let object = objects.iter_mut().find(|object| name(object) == wanted);
    change(object.unwrap().pointer_mut(pointer).unwrap());
    objects
}

#[test]
fn mistakes_in_types_are_seen() {
    type Change = fn(&mut Value);
    let plants: [(&str, Change, &str); 4] = [
        (
            "/spec",
            |spec| spec["replica"] = json!(3),
            ".spec.replica: no such field",
        ),
        (
            "/spec",
            |spec| spec["replicas"] = json!("three"),
            "invalid type",
        ),
        (
            "/spec",
            |spec| drop(spec.as_object_mut().unwrap().remove("selector")),
            ".spec.selector: is missing",
        ),
        (
            "/spec/template/spec/containers/0/livenessProbe/httpGet",
            |get| get["prot"] = json!(1),
            ".prot: no such field",
        ),
    ];
    for (pointer, change, expected) in plants {
        let objects = changed("StatefulSet/yadkv-store", pointer, change);
        let found: Vec<_> = objects.iter().flat_map(complaints).collect();
        assert!(
            found.iter().any(|one| one.contains(expected)),
            "{expected}: {found:?}"
        );
    }
}

#[test]
fn objects_that_miss_each_other_are_seen() {
    type Change = fn(&mut Value);
    let plants: [(&str, &str, Change); 5] = [
        ("Service/yadkv-store", "/spec/selector", |selector| {
            selector["app.kubernetes.io/component"] = json!("stores");
        }),
        ("Service/yadkv", "/spec/ports/0", |port| {
            port["targetPort"] = json!("pds");
        }),
        ("StatefulSet/yadkv-pd", "/spec", |spec| {
            spec["serviceName"] = json!("yadkv");
        }),
        ("StatefulSet/yadkv-store", "/spec/template/spec", |pod| {
            pod["terminationGracePeriodSeconds"] = json!(10);
        }),
        (
            "PodDisruptionBudget/yadkv-pd",
            "/spec/selector/matchLabels",
            |labels| labels["app.kubernetes.io/component"] = json!("store"),
        ),
    ];
    for (object, pointer, change) in plants {
        let found = fit(&changed(object, pointer, change));
        assert!(!found.is_empty(), "{object}{pointer}");
    }
}
