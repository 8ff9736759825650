//! What is said of a metric.
//!
//! *Place*: [`crate::Meters`] keeps one for each metric.
//!
//! *Next stop*: [`crate::Meters`].

/// What a metric is to Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only rises, and begins at 0 with the process.
    Counter,
    /// It is as it is now.
    Gauge,
    /// How often values of each size came.
    Histogram,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its whole name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it is divided by.
    pub label: Option<&'static str>,
    /// What is measured.
    pub what: &'static str,
    /// What an operator asks it.
    pub question: &'static str,
}

impl Description {
    /// The names under which Prometheus has it.
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.clone()],
            Kind::Histogram => ["bucket", "sum", "count"]
                .map(|part| format!("{}_{part}", self.name))
                .into(),
        }
    }
}
