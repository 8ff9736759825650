//! Orders for regions, and what became of them.
//!
//! *Next stop*: `yadkv_placement_driver::http`.

use super::OperatorAction;
use crate::commands::Servers;
use crate::commands::http::ask;
use crate::failure::Outcome;
use hyper::Method;
use serde_json::{Value, json};

/// Where orders go.
pub(super) const OPERATORS: &str = "/pd/api/v1/operators";

/// Gives the placement driver an order for a region.
pub(super) async fn order(pd: &Servers, order: Value) -> Outcome<Vec<Value>> {
    ask(pd, Method::POST, OPERATORS, Some(order.clone())).await?;
    let region = order.get("region_id").or(order.get("source_region_id"));
    Ok(vec![json!({ "ordered": order["name"], "region": region })])
}

/// Lists operators, or cancels one.
pub(super) async fn run(pd: &Servers, action: &OperatorAction) -> Outcome<Vec<Value>> {
    match action {
        OperatorAction::List => {
            let answer = ask(pd, Method::GET, OPERATORS, None).await?;
            Ok(answer["operators"].as_array().cloned().unwrap_or_default())
        }
        OperatorAction::Cancel { region } => {
            let path = format!("{OPERATORS}/{region}");
            ask(pd, Method::DELETE, &path, None).await?;
            Ok(vec![json!({ "cancelled": region })])
        }
    }
}
