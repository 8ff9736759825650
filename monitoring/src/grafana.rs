//! The part of Grafana's JSON that the dashboards use.
//!
//! *Place*: [`crate::dashboards`] builds of it; Grafana reads what comes out.
//!
//! *Types to know*: [`Dashboard`], [`Panel`], [`Query`].
//!
//! *Life of a panel*: made by a function of its kind ([`Panel::series`] …) → told its unit, limits and queries → given its
//! place by [`Dashboard::new`], which fills rows from left to right.
//!
//! *Invariants*: panels do not overlap; every panel and query names the data source by the variable `datasource`.
//!
//! *Source*: the JSON model in Grafana's documentation; the version is that of the Grafana in `deploy/compose.yaml`.
//!
//! *Next stop*: [`crate::dashboards`].

use crate::Error;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Of Grafana 12.
const SCHEMA_VERSION: u32 = 41;
/// Columns of the grid.
pub const WIDTH: u32 = 24;

/// One dashboard.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dashboard {
    /// Its name in addresses, and that of its file.
    pub uid: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What it is for.
    pub description: String,
    tags: [&'static str; 1],
    timezone: &'static str,
    schema_version: u32,
    editable: bool,
    graph_tooltip: u32,
    refresh: &'static str,
    time: Value,
    templating: Value,
    links: Value,
    /// What it shows, each at its place.
    pub panels: Vec<Panel>,
}

/// One question and its answer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Panel {
    id: u32,
    #[serde(rename = "type")]
    kind: &'static str,
    /// A question.
    pub title: &'static str,
    /// How to read the answer.
    pub description: &'static str,
    datasource: Source,
    /// Where it is.
    pub grid_pos: Place,
    field_config: Fields,
    options: Value,
    /// What is asked.
    pub targets: Vec<Query>,
}

/// A rectangle of the grid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Columns.
    pub w: u32,
    /// Rows.
    pub h: u32,
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
}

/// One query of a panel.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    ref_id: String,
    datasource: Source,
    /// PromQL, with variables.
    pub expr: String,
    legend_format: &'static str,
    /// What it gives: `time_series`, `heatmap` or `table`.
    format: &'static str,
    /// Whether only the present counts.
    instant: bool,
    range: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Source {
    #[serde(rename = "type")]
    kind: &'static str,
    uid: &'static str,
}

const SOURCE: Source = Source {
    kind: "prometheus",
    uid: "${datasource}",
};

#[derive(Clone, Debug, Serialize)]
struct Fields {
    defaults: Map<String, Value>,
    overrides: [u32; 0],
}

/// What a panel's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Number,
    /// Things a second.
    PerSecond,
    /// Seconds.
    Seconds,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
    /// 1 is all.
    Share,
}

impl Unit {
    /// Grafana's name.
    fn name(self) -> &'static str {
        match self {
            Self::Number => "short",
            Self::PerSecond => "ops",
            Self::Seconds => "s",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "Bps",
            Self::Share => "percentunit",
        }
    }
}

impl Panel {
    /// Numbers over time.
    pub fn series(title: &'static str, description: &'static str, unit: Unit) -> Self {
        let mut panel = Self::new("timeseries", (title, description), (12, 8), unit);
        panel.options = json!({
            "legend": { "displayMode": "table", "placement": "right", "showLegend": true, "calcs": ["lastNotNull", "max"] },
            "tooltip": { "mode": "multi", "sort": "desc" },
        });
        panel.set("min", json!(0));
        panel.set(
            "custom",
            json!({ "lineWidth": 1, "fillOpacity": 5, "showPoints": "never", "spanNulls": false }),
        );
        panel
    }

    /// Numbers as they are now.
    pub fn stat(title: &'static str, description: &'static str, unit: Unit) -> Self {
        let mut panel = Self::new("stat", (title, description), (6, 5), unit);
        panel.options = json!({
            "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
            "colorMode": "background", "graphMode": "area", "textMode": "auto",
        });
        panel
    }

    /// What is there now, a row each.
    pub fn table(title: &'static str, description: &'static str) -> Self {
        let mut panel = Self::new("table", (title, description), (12, 8), Unit::Number);
        panel.options = json!({ "showHeader": true });
        panel
    }

    /// How often values of each size came, over time.
    pub fn heatmap(title: &'static str, description: &'static str, unit: Unit) -> Self {
        let mut panel = Self::new("heatmap", (title, description), (12, 8), unit);
        panel.options = json!({
            "calculate": false,
            "color": { "mode": "scheme", "scheme": "Oranges", "steps": 64 },
            "yAxis": { "unit": unit.name() },
            "cellGap": 1,
            "tooltip": { "mode": "single", "yHistogram": true },
        });
        panel
    }

    fn new(
        kind: &'static str,
        (title, description): (&'static str, &'static str),
        (w, h): (u32, u32),
        unit: Unit,
    ) -> Self {
        let mut panel = Self {
            id: 0,
            kind,
            title,
            description,
            datasource: SOURCE,
            grid_pos: Place { w, h, x: 0, y: 0 },
            field_config: Fields {
                defaults: Map::new(),
                overrides: [],
            },
            options: Value::Null,
            targets: Vec::new(),
        };
        panel.set("unit", json!(unit.name()));
        panel
    }

    fn set(&mut self, field: &str, value: Value) {
        self.field_config.defaults.insert(field.into(), value);
    }

    /// Asks one more thing; `legend` may name labels in `{{…}}`.
    #[must_use]
    pub fn ask(mut self, legend: &'static str, expr: impl Into<String>) -> Self {
        let letter = b'A' + u8::try_from(self.targets.len()).unwrap_or(25).min(25);
        let now = self.kind == "table";
        self.targets.push(Query {
            ref_id: char::from(letter).to_string(),
            datasource: SOURCE,
            expr: expr.into(),
            legend_format: legend,
            format: match self.kind {
                "table" => "table",
                "heatmap" => "heatmap",
                _ => "time_series",
            },
            instant: now,
            range: !now,
        });
        self
    }

    /// Red from `limit` on, green below it.
    #[must_use]
    pub fn red_from(self, limit: f64) -> Self {
        self.thresholds(&json!([
            { "color": "green", "value": null },
            { "color": "red", "value": limit },
        ]))
    }

    /// Green at exactly `good`, which is a whole number; red elsewhere.
    #[must_use]
    pub fn green_at(self, good: u32) -> Self {
        self.thresholds(&json!([
            { "color": "red", "value": null },
            { "color": "green", "value": good },
            { "color": "red", "value": f64::from(good) + 0.5 },
        ]))
    }

    fn thresholds(mut self, steps: &Value) -> Self {
        self.set("thresholds", json!({ "mode": "absolute", "steps": steps }));
        self.set("color", json!({ "mode": "thresholds" }));
        if self.kind == "timeseries" {
            self.set("color", json!({ "mode": "palette-classic" }));
            let custom = self.field_config.defaults.get_mut("custom");
            if let Some(custom) = custom {
                custom["thresholdsStyle"] = json!({ "mode": "line" });
            }
        }
        self
    }
}

impl Dashboard {
    /// A dashboard whose `instances` are those of a metric, to choose from; none: it is about the whole cluster.
    pub fn new(
        uid: &'static str,
        title: &'static str,
        description: &'static str,
        instances: Option<&str>,
        panels: Vec<Panel>,
    ) -> Self {
        let mut variables = vec![json!({
            "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0,
            "current": { "text": "Prometheus", "value": "prometheus" },
        })];
        if let Some(metric) = instances {
            let query = format!("label_values({metric}, instance)");
            variables.push(json!({
                "name": "instance", "label": "Server", "type": "query", "datasource": SOURCE, "definition": query,
                "query": { "query": query, "refId": "instances" }, "refresh": 2, "sort": 1, "hide": 0,
                "multi": true, "includeAll": true, "allValue": ".+",
                "current": { "text": ["All"], "value": ["$__all"] },
            }));
        }
        Self {
            uid,
            title,
            description: format!(
                "{description} Made by `cargo run -p yadkv-monitoring`: change it there."
            ),
            tags: ["yadkv"],
            timezone: "browser",
            schema_version: SCHEMA_VERSION,
            editable: false,
            graph_tooltip: 1,
            refresh: "30s",
            time: json!({ "from": "now-1h", "to": "now" }),
            templating: json!({ "list": variables }),
            links: json!([{ "title": "yadkv", "type": "dashboards", "tags": ["yadkv"], "keepTime": true }]),
            panels: placed(panels),
        }
    }

    /// As it is written.
    pub fn text(&self) -> Result<String, Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Fills rows from left to right; a row is as high as its highest panel.
fn placed(mut panels: Vec<Panel>) -> Vec<Panel> {
    let (mut x, mut y, mut height) = (0, 0, 0);
    for (panel, id) in panels.iter_mut().zip(1..) {
        let place = &mut panel.grid_pos;
        if x + place.w > WIDTH {
            (x, y, height) = (0, y + height, 0);
        }
        (place.x, place.y) = (x, y);
        (x, height) = (x + place.w, height.max(place.h));
        panel.id = id;
    }
    panels
}
