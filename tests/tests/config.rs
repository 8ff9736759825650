//! Settings of servers that run: shown, changed, refused; and profiles of them.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::time::Duration;
use yadkv_client::{Client, Options};
use yadkv_tests::http::page;
use yadkv_tests::load::Load;
use yadkv_tests::{Cluster, NODES, borders, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

fn ctl(cluster: &Cluster, args: &[&str]) -> Vec<Value> {
    let rows = cluster.rows(args);
    rows.unwrap_or_else(|| panic!("{args:?}\n{}", cluster.logs()))
}

/// What `ctl` prints when it fails: lines, and why.
fn failure(cluster: &Cluster, args: &[&str]) -> (Vec<Value>, String) {
    let pd = cluster.pd();
    let output = cluster.yadkv(&[&["ctl", "--json", "--pd", &pd], args].concat());
    assert!(!output.status.success(), "{args:?} succeeds");
    let printed = String::from_utf8(output.stdout).unwrap();
    let rows = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (rows.collect(), String::from_utf8(output.stderr).unwrap())
}

/// What servers have in force by a name: value, and value at the start if that was another one.
fn in_force(cluster: &Cluster, name: &str) -> Vec<(Value, Value)> {
    let rows = ctl(cluster, &["config", "show"]).into_iter();
    let named = rows.filter(|row| row["name"] == name);
    named
        .map(|row| (row["value"].clone(), row["start"].clone()))
        .collect()
}

fn regions(cluster: &Cluster) -> usize {
    ctl(cluster, &["region"]).len()
}

#[test]
fn a_setting_of_stores_takes_effect_and_lasts_until_they_start_anew() {
    let mut cluster = Cluster::start(&[&borders(1)]);
    let pd = cluster.pd();
    let value = "x".repeat(60 << 10);
    for number in 0..24 {
        let key = format!("key{number:02}");
        cluster.run(&["raw", "--pd", &pd, "put", &key, &value]);
    }
    let before = regions(&cluster);
    let set = ["config", "set", "region.split_size=256KiB"];
    let said = cluster.run(&[&["ctl", "--pd", &pd][..], &set].concat());
    for expected in ["256KiB", "256MiB", "put it in its file to keep it"] {
        assert!(said.contains(expected), "{said}");
    }
    // Nobody writes any more.
    eventually("the region is cut", PATIENCE, || {
        (regions(&cluster) >= before + 3).then_some(())
    });
    let changed = (json!("256KiB"), json!("256MiB"));
    assert_eq!(
        in_force(&cluster, "region.split_size"),
        vec![changed.clone(); NODES]
    );

    // One is away: the others change, it is named, and has its file's when it comes back.
    let victim = cluster.stores[0].address().to_owned();
    let stores = ctl(&cluster, &["store"]);
    let victim = stores.iter().find(|store| store["address"] == victim);
    let victim = format!("store {}", victim.unwrap()["id"]);
    cluster.stores[0].kill();
    let (rows, reason) = failure(&cluster, &["config", "set", "region.split_keys=5000"]);
    assert!(reason.contains(&victim), "{reason}");
    let changed_on: Vec<_> = rows.iter().filter(|row| row["value"] == 5000).collect();
    assert_eq!(changed_on.len(), NODES - 1, "{rows:?}");
    cluster.stores[0].start();
    eventually("it answers again", PATIENCE, || {
        cluster.rows(&["config", "show"])
    });
    let mut found = in_force(&cluster, "region.split_size");
    found.sort_by_key(|(value, _)| value.to_string());
    let own = (json!("256MiB"), Value::Null);
    assert_eq!(found, [changed.clone(), changed, own]);
}

#[test]
fn a_setting_of_placement_drivers_takes_effect() {
    let settings = ["schedule.balance_leaders=false", &borders(8)];
    let cluster = Cluster::start(&settings);
    // Whoever leads what: one store leads all of it, and nobody moves that.
    let store = ctl(&cluster, &["store"])[0]["id"].clone();
    eventually("one store leads", PATIENCE, || {
        let regions = ctl(&cluster, &["region"]);
        let elsewhere = |region: &&Value| region["leader"]["store_id"] != store;
        let elsewhere: Vec<_> = regions.iter().filter(elsewhere).collect();
        for region in &elsewhere {
            let id = region["id"].to_string();
            // Refused while one is under way.
            let order = ["region", "transfer-leader", &id, &store.to_string()];
            cluster.rows(&order);
        }
        elsewhere.is_empty().then_some(())
    });
    let rows = ctl(
        &cluster,
        &["config", "set", "schedule.balance_leaders=true"],
    );
    let changed: Vec<_> = rows
        .iter()
        .map(|row| (&row["value"], &row["start"]))
        .collect();
    assert_eq!(changed, vec![(&json!(true), &json!(false)); NODES]);
    cluster.wait_until_leaders_are_spread();
}

#[test]
fn what_is_refused_says_why_and_changes_nothing() {
    let cluster = Cluster::start(&[&borders(1)]);
    let before = ctl(&cluster, &["config", "show"]);
    for (settings, reason) in [
        (
            &["region.split_size=1KiB"][..],
            "region.split_size = 1024 is not allowed: use 16KiB to 64GiB",
        ),
        (
            &["region.split_keys=20", "region.tick=90ms"],
            "region.tick = 90ms cannot be set while the server runs: put it in its file and start it anew",
        ),
        (
            &["region.split_keys=20", "region.lag_size=1MiB"],
            "region.lag_size = 1048576 is not allowed: use at least region.log_size",
        ),
        (&["region.none=1"], "region.none is no setting"),
        (
            &["schedule.store_dead_time=19s"],
            "schedule.store_dead_time = 19s is not allowed: use 20s to 8760h",
        ),
        (
            &["schedule.replicas=2", "bootstrap.stores=2"],
            "bootstrap.stores = 2 cannot be set while the server runs",
        ),
        (
            &["schedule.replicas=three"],
            "schedule.replicas = three is not allowed",
        ),
        (
            &["regions.split_keys=20"],
            "regions.split_keys is nobody's setting",
        ),
        (&["region.split_keys"], "use KEY=VALUE"),
        (
            &["region.split_keys=20", "--member", "1"],
            "region.split_keys is no setting of this server",
        ),
        (
            &["region.split_keys=20", "--store", "77"],
            "there is no store 77",
        ),
    ] {
        let (_, said) = failure(&cluster, &[&["config", "set"], settings].concat());
        assert!(said.contains(reason), "{settings:?}: {said}");
    }
    assert_eq!(ctl(&cluster, &["config", "show"]), before);
}

fn key(writer: u64, number: u64) -> String {
    format!("w{writer}-{}", number % 1000)
}

/// An address of this machine that others would reach it by, if it has one.
fn outside() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: only the way there is looked up.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then(|| address.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn profiles_are_taken_one_at_a_time_by_who_is_near() {
    let cluster = Cluster::start(&["store.status_addr=0.0.0.0:0", &borders(1)]);
    let connected = Client::connect(cluster.endpoints.clone(), Options::default()).await;
    let load = Load::start(&connected.unwrap().raw(), 4, key);
    let store = ctl(&cluster, &["store"]).remove(0);
    let status = store["status_address"].as_str().unwrap().to_owned();
    for (path, reason) in [
        (
            "profile?seconds=0",
            "seconds = 0 is not allowed: use 1 to 60",
        ),
        (
            "profile?format=png",
            "format = png is not allowed: use pprof or svg",
        ),
        (
            "heap?second=1",
            "second is no parameter of this page: use seconds",
        ),
    ] {
        let (code, said) = page(&status, &format!("/debug/pprof/{path}")).unwrap();
        assert!(
            code == 400 && said.contains(reason),
            "{path}: {code} {said}"
        );
    }

    let long = "/debug/pprof/profile?seconds=3&format=svg&frequency=999";
    let first = std::thread::spawn({
        let status = status.clone();
        // The other one may be a moment quicker.
        move || {
            eventually("a profile", PATIENCE, || {
                page(&status, long).ok().filter(|said| said.0 == 200)
            })
        }
    });
    eventually("a second one is refused", PATIENCE, || {
        let (code, said) = page(&status, "/debug/pprof/profile?seconds=1").ok()?;
        assert!(code == 200 || said.contains("another profile"), "{said}");
        (code == 429).then_some(())
    });
    let (_, picture) = first.join().unwrap();
    assert!(picture.contains("<svg"), "{picture}");
    // Of inlined functions only the last part of the name is known.
    assert!(picture.contains("yadkv_"), "{picture}");

    let file = cluster.folder.path().join("profile");
    let output = file.to_str().unwrap();
    let id = store["id"].to_string();
    for (args, begins) in [
        (&["heap", "--store", &id][..], &[0x1f, 0x8b][..]),
        (&["cpu", "--member", "1"], &[0x0a]),
    ] {
        let profile = [&["profile"], args, &["--seconds", "1", "--output", output]].concat();
        let said = ctl(&cluster, &profile).remove(0);
        let profile = std::fs::read(&file).unwrap();
        assert!(profile.starts_with(begins), "{args:?}");
        assert_eq!(said["bytes"], profile.len());
    }
    if let Some(outside) = outside() {
        let port = status.rsplit_once(':').unwrap().1;
        let away = format!("{outside}:{port}");
        assert_eq!(page(&away, "/config").unwrap().0, 200);
        for path in [long, "/debug/pprof/heap"] {
            let (code, said) = page(&away, path).unwrap();
            assert_eq!(code, 403, "{said}");
            assert!(said.contains("store.open_pages = true"), "{said}");
        }
    }
    load.stop().await;
    cluster.nobody_crashed();
}

/// By which policy the kernel schedules the threads of a process, and how many each: proc_pid_stat(5), field 41.
fn policies(process: Option<u32>) -> BTreeMap<u32, usize> {
    let mut found = BTreeMap::new();
    for thread in std::fs::read_dir(format!("/proc/{}/task", process.unwrap())).unwrap() {
        // One may have ended meanwhile.
        let Ok(stat) = std::fs::read_to_string(thread.unwrap().path().join("stat")) else {
            continue;
        };
        let (_, behind_name) = stat.rsplit_once(')').unwrap();
        let policy = behind_name.split_whitespace().nth(41 - 3).unwrap();
        *found.entry(policy.parse().unwrap()).or_default() += 1;
    }
    found
}

#[test]
fn threads_of_stores_are_of_the_batch_kind_unless_that_is_not_wanted() {
    const BATCH: u32 = 3;
    // What a server inherits.
    let usual = policies(Some(std::process::id()));
    let usual = *usual.keys().next().unwrap();
    let wanted = Cluster::start(&[]);
    let unwanted = Cluster::start(&["store.batch_threads=false"]);
    for (cluster, expected) in [(&wanted, BATCH), (&unwanted, usual)] {
        for store in &cluster.stores {
            let found = policies(store.id());
            assert_eq!(found.keys().collect::<Vec<_>>(), [&expected], "{found:?}");
            assert!(found[&expected] > 5, "{found:?}");
        }
        for pd in &cluster.pds {
            assert_eq!(policies(pd.id()).keys().collect::<Vec<_>>(), [&usual]);
        }
    }
}
