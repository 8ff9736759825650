//! Alerts about processes, whatever they are.
//!
//! *Next stop*: [`super::cluster`].

use super::{Alert, Severity};

/// All of them.
pub const ALERTS: [Alert; 3] = [
    Alert {
        name: "TargetDown",
        expr: "up{job=~\"yadkv-(pd|store)\"} == 0",
        hold: "2m",
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} ({{ $labels.job }}) does not answer Prometheus",
        description: "The process has ended, cannot be reached, or is too busy to answer. Nobody sees how it is.",
    },
    Alert {
        name: "Restarts",
        expr: "changes(process_start_time_seconds{job=~\"yadkv-(pd|store)\"}[1h]) > 2",
        hold: "1m",
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} ({{ $labels.job }}) was started {{ $value }} times in an hour",
        description: "It ends again and again, and something starts it anew. Its log says why it ends.",
    },
    Alert {
        name: "ResidentMemory",
        expr: "process_resident_memory_bytes > on (job, instance) 1.5 * sum by (job, instance) (yadkv_store_memory_limit_bytes) + 268435456",
        hold: "10m",
        severity: Severity::Warning,
        summary: "{{ $labels.instance }} takes {{ $value | humanize1024 }}B of memory",
        description: "More than all budgets of store.memory, half as much again and 256 MiB. The operating system may end it.",
    },
];
