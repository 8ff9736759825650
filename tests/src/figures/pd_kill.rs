//! `kill -9` of the placement driver that leads, ten times: how long timestamps and look-ups are away.
//!
//! *Invariants*: no call fails, and no timestamp is below one that was given before it was asked for.
//!
//! *Next stop*: [`super::speed`].

use crate::Figure;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use yadkv_client::{Client, Options};
use yadkv_tests::{Cluster, borders, eventually};

const KILLS: usize = 10;
const AWAY_SECONDS_MAX: f64 = 3.0;
/// Answers after which a service is back.
const GOES_ON: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(30);

/// One service under constant questions.
#[derive(Default)]
struct Service {
    answers: AtomicU64,
    gap_us: AtomicU64,
}

impl Service {
    fn answered(&self, last: &mut Instant) {
        let gap = u64::try_from(last.elapsed().as_micros()).unwrap_or(u64::MAX);
        *last = Instant::now();
        self.gap_us.fetch_max(gap, Ordering::Relaxed);
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) fn measure() -> Vec<Figure> {
    let runtime = Runtime::new().expect("a runtime");
    let mut cluster = Cluster::start(&[&borders(32)]);
    cluster.wait_until_leaders_are_spread();
    let connecting = Client::connect(cluster.endpoints.clone(), Options::default());
    let client = runtime.block_on(connecting).expect("the cluster serves");
    let stop = Arc::new(AtomicBool::new(false));
    let (stamps, lookups) = (Arc::new(Service::default()), Arc::new(Service::default()));
    let tasks = [
        runtime.spawn(ask_stamps(client.clone(), stamps.clone(), stop.clone())),
        runtime.spawn(ask_regions(client.clone(), lookups.clone(), stop.clone())),
    ];
    let go_on = |when: &str| {
        for service in [&stamps, &lookups] {
            let goal = service.answers.load(Ordering::Relaxed) + GOES_ON;
            let back = || (service.answers.load(Ordering::Relaxed) >= goal).then_some(());
            eventually(
                &format!("the placement driver answers {when}"),
                PATIENCE,
                back,
            );
        }
    };
    go_on("at first");
    let mut longest: [f64; 2] = [0.0; 2];
    for round in 0..KILLS {
        let leader = runtime.block_on(leader(&client, &cluster));
        for service in [&stamps, &lookups] {
            service.gap_us.store(0, Ordering::Relaxed);
        }
        cluster.pds[leader].kill();
        go_on("while its leader is away");
        cluster.pds[leader].start();
        go_on("after its return");
        for (longest, service) in longest.iter_mut().zip([&stamps, &lookups]) {
            let away = service.gap_us.load(Ordering::Relaxed) as f64 / 1e6;
            *longest = longest.max(away);
            eprintln!("  kill {}: {away:.2} s", round + 1);
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        runtime.block_on(task).expect("no error surfaces");
    }
    let of = format!("over {KILLS} kills of the leading placement driver");
    vec![
        Figure::at_most(
            format!("timestamps away, {of}"),
            AWAY_SECONDS_MAX,
            longest[0],
            "s",
        ),
        Figure::at_most(
            format!("look-ups away, {of}"),
            AWAY_SECONDS_MAX,
            longest[1],
            "s",
        ),
    ]
}

/// Which of the cluster's processes leads.
async fn leader(client: &Client, cluster: &Cluster) -> usize {
    let members = client.admin().members().await.expect("a majority lives");
    let leader = members.leader.expect("somebody answers timestamps");
    let urls = leader.client_urls.join(" ");
    let mut addresses = cluster.endpoints.iter();
    addresses
        .position(|address| urls.contains(address.as_str()))
        .expect("one of ours")
}

async fn ask_stamps(client: Client, service: Arc<Service>, stop: Arc<AtomicBool>) {
    let mut last = Instant::now();
    let mut before = client.timestamp().await.expect("no error surfaces");
    while !stop.load(Ordering::Relaxed) {
        let stamp = client.timestamp().await.expect("no error surfaces");
        assert!(stamp > before, "{stamp:?} after {before:?}");
        before = stamp;
        service.answered(&mut last);
    }
}

async fn ask_regions(client: Client, service: Arc<Service>, stop: Arc<AtomicBool>) {
    let admin = client.admin();
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let region = admin
            .region_by_key("r\0\0\0key")
            .await
            .expect("no error surfaces");
        assert!(region.is_some(), "every key has a region");
        service.answered(&mut last);
    }
}
