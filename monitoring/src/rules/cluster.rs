//! Alerts about what the placement driver's leader knows of the cluster.
//!
//! *Limits*: members that do not lead show nothing of it, so the maximum is what the leader says.
//!
//! *Next stop*: [`super::store`].

use super::{Alert, Severity};

/// All of them.
pub const ALERTS: [Alert; 6] = [
    Alert {
        name: "PdLeader",
        expr: "sum by (job) (yadkv_pd_leads) != 1",
        hold: "1m",
        severity: Severity::Critical,
        summary: "{{ $value }} placement drivers ({{ $labels.job }}) say that they lead",
        description: "Without a leader no client finds a region anew, nothing is mended and no timestamp is given. What clients know goes on. Two for long are a network that is cut, or two clusters in one job.",
    },
    Alert {
        name: "StoreDown",
        expr: "max by (job, state) (yadkv_pd_stores{state=~\"Disconnected|Down\"}) > 0",
        hold: "2m",
        severity: Severity::Warning,
        summary: "{{ $value }} stores are {{ $labels.state }}",
        description: "The placement driver does not hear them. Their regions go on with two of three replicas: one more failure makes data unavailable. After schedule.store_dead_time their replicas are made anew on other stores.",
    },
    Alert {
        name: "RegionsWithoutLeader",
        expr: "max by (job) (yadkv_pd_regions{state=\"without_leader\"}) > 0",
        hold: "3m",
        severity: Severity::Critical,
        summary: "{{ $value }} regions have no leader",
        description: "Their keys can be neither read nor written. Mostly two of the three stores of a region are gone.",
    },
    Alert {
        name: "RegionsNotMended",
        expr: "max by (job, state) (yadkv_pd_regions{state=~\"with_(down|lagging|missing)_peer\"}) > 0",
        hold: "1h",
        severity: Severity::Warning,
        summary: "{{ $value }} regions are {{ $labels.state }} for an hour",
        description: "They should have been mended by now: no store can take a replica, moves do not end, or a store does not keep up.",
    },
    Alert {
        name: "Elections",
        expr: "sum by (job) (increase(yadkv_store_raft_elections_total[15m])) > 5 * sum by (job) (yadkv_store_peers{role=\"leader\"}) + 5",
        hold: "5m",
        severity: Severity::Warning,
        summary: "{{ $value | humanize }} campaigns in 15 minutes",
        description: "More than five for every region. Followers lose their leaders again and again: stores or the network between them stand still for a second at a time.",
    },
    Alert {
        name: "ReplicasDiffer",
        expr: "increase(yadkv_store_region_checks_total{found=\"different\"}[25h]) > 0",
        hold: "0s",
        severity: Severity::Critical,
        summary: "{{ $labels.instance }} found replicas of a region that differ",
        description: "A replica holds something else than the others at the same position of the log. One of them is wrong: by a fault of memory or disk that no checksum saw, or by a mistake in yadkv.",
    },
];
