//! The deployment files, as far as they can be judged without Docker, Kubernetes or a booted systemd.
//!
//! | file | what it judges |
//! |---|---|
//! | [`kubernetes`] | every object against Kubernetes' published API, and that names, ports and selectors meet |
//! | [`helm`] | the chart: values, their schema, what templates name; rendered, it gives the plain manifests |
//! | [`compose`] | services, what Prometheus asks, what Grafana is given |
//! | [`units`] | systemd units and the Debian package |
//! | [`image`] | the Dockerfile, the health check in the image, all shell scripts |
//! | [`settings`] | every flag and setting that any of them names, against the sources of the servers |
//!
//! *Place*: `make test` runs it. What needs a program that is not there says SKIPPED on standard error.
//!
//! *Invariants*: each check has a test beside it that plants a mistake and sees it found.
//!
//! *Next stop*: [`files`].

#![allow(clippy::unwrap_used)]

mod compose;
mod files;
mod helm;
mod image;
mod kubernetes;
mod settings;
mod units;
