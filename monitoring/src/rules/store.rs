//! Alerts about what a store is short of.
//!
//! *Next stop*: the runbooks, `guide/src/operate/runbooks`.

use super::{Alert, Severity};

/// All of them.
pub const ALERTS: [Alert; 9] = [
    Alert {
        name: "Damage",
        expr: "yadkv_store_damaged_files > 0 or yadkv_store_peers{role=\"halted\"} > 0",
        hold: "0s",
        severity: Severity::Critical,
        summary: "{{ $labels.instance }} has damaged data",
        description: "Reads met bytes that are not what was written. Their regions are replaced on other stores by themselves; the disk is not to be trusted.",
    },
    Alert {
        name: "WritesRefused",
        expr: "yadkv_store_writes_refused == 1",
        hold: "1m",
        severity: Severity::Critical,
        summary: "{{ $labels.instance }} refuses writes",
        description: "Less than 256 MiB of its disk are free, or its logs have all of store.log_size. Regions that it leads cannot be written; reads go on.",
    },
    Alert {
        name: "DiskFillsUp",
        expr: "yadkv_store_disk_free_bytes < 0.1 * yadkv_store_disk_size_bytes or (predict_linear(yadkv_store_disk_free_bytes[6h], 86400) < 0 and yadkv_store_disk_free_bytes < 0.5 * yadkv_store_disk_size_bytes)",
        hold: "15m",
        severity: Severity::Warning,
        summary: "the disk of {{ $labels.instance }} has {{ $value | humanize1024 }}B left, now or in a day",
        description: "Less than a tenth of it is free, or less than a half and, if it goes on as in the last six hours, nothing in a day. Then writes are refused.",
    },
    Alert {
        name: "SlowDisk",
        expr: "histogram_quantile(0.99, sum by (job, instance, le) (rate(yadkv_store_raft_log_sync_seconds_bucket[5m]))) > 0.2 or histogram_quantile(0.99, sum by (job, instance, le) (rate(yadkv_pd_log_write_seconds_bucket[5m]))) > 0.2",
        hold: "10m",
        severity: Severity::Warning,
        summary: "one of a hundred writes to the log of {{ $labels.instance }} takes {{ $value | humanizeDuration }}",
        description: "Every write waits for it. Near half a second leaders lose their leases.",
    },
    Alert {
        name: "ApplyBehind",
        expr: "min_over_time(yadkv_store_apply_queue_left_regions[5m]) > 0",
        hold: "5m",
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} applies less than is written, in {{ $value }} regions or more",
        description: "Committed entries wait in the log because the memory for those that wait is used up. Writes are answered late, reads of followers too.",
    },
    Alert {
        name: "EngineStalled",
        expr: "rate(yadkv_store_engine_stall_seconds_total[5m]) > 0.1 or min_over_time(yadkv_store_engine_writes_stopped[5m]) == 1",
        hold: "5m",
        severity: Severity::Warning,
        summary: "RocksDB on {{ $labels.instance }} holds writes up",
        description: "Flushes or compactions are slower than the writes. Apply falls behind.",
    },
    Alert {
        name: "RequestErrors",
        expr: "sum by (job, instance) (rate(yadkv_store_request_errors_total{kind=~\"server_is_busy|disk_full|other\"}[5m])) > 0.01 * sum by (job, instance) (rate(yadkv_store_request_seconds_count[5m]))",
        hold: "10m",
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} refuses {{ $value | humanize }} requests a second",
        description: "More than one of a hundred, because it is overloaded, its disk is full, or something is wrong. Routes that are stale are not counted.",
    },
    Alert {
        name: "RequestsSlow",
        expr: "histogram_quantile(0.99, sum by (job, instance, le) (rate(yadkv_store_request_seconds_bucket{call=~\"RawGet|RawPut|RawDelete|RawGetKeyTtl|RawCompareAndSwap\"}[5m]))) > 0.5",
        hold: "10m",
        severity: Severity::Warning,
        summary: "one of a hundred requests to {{ $labels.instance }} takes {{ $value | humanizeDuration }}",
        description: "Of those for one key, from arrival to answer.",
    },
    Alert {
        name: "DroppedMessages",
        expr: "sum by (job, instance) (rate(yadkv_store_raft_dropped_messages_total{reason=~\"no room before the worker|too many (bytes|messages) wait for the store\"}[5m])) > 1",
        hold: "10m",
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} drops {{ $value | humanize }} Raft messages a second",
        description: "There is no room for them before a worker, or before another store that takes them too slowly. They are sent again; replicas lag.",
    },
];
