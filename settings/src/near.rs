//! Who may use pages that change a server or cost it much: whoever is on its machine.
//!
//! *Place*: around such routes, on every port that has them.
//!
//! *Why*: the ports speak without asking who calls; what metrics and maps show may be read by whoever reaches them, but
//! settings and profiles are the operator's. He is on the machine, or opens them with the setting that the refusal names.
//!
//! *Invariants*: a caller whose address is not known is not near. A request that a web site makes in a browser on the machine
//! has the header `Origin`: it is refused whatever its address, and whatever the setting.
//!
//! *Limits*: behind a proxy on the machine everybody is near.
//!
//! *Next stop*: [`crate::page`].

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;

/// Who may.
#[derive(Clone, Copy, Debug)]
pub struct Near {
    /// Others as well.
    pub open: bool,
    /// The setting that says so.
    pub setting: &'static str,
}

impl Near {
    /// Puts the rule around routes. They need the caller's address as `ConnectInfo<SocketAddr>`.
    pub fn guard<S: Clone + Send + Sync + 'static>(self, routes: Router<S>) -> Router<S> {
        routes.route_layer(middleware::from_fn_with_state(self, check))
    }

    fn judge(self, request: &Request) -> Result<(), String> {
        if request.headers().contains_key(header::ORIGIN) {
            return Err("web sites may not use this page\n".into());
        }
        let caller = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let near = caller.is_some_and(|caller| caller.0.ip().to_canonical().is_loopback());
        match self.open || near {
            true => Ok(()),
            false => Err(format!(
                "this page answers to its own machine only: ask there, or set {} = true\n",
                self.setting
            )),
        }
    }
}

async fn check(State(near): State<Near>, request: Request, next: Next) -> Response {
    match near.judge(&request) {
        Ok(()) => next.run(request).await,
        Err(reason) => (StatusCode::FORBIDDEN, reason).into_response(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn request(from: Option<&str>, origin: bool) -> Request {
        let mut request = Request::new(Body::empty());
        if let Some(from) = from {
            let address = ConnectInfo(SocketAddr::new(from.parse().unwrap(), 1));
            request.extensions_mut().insert(address);
        }
        if origin {
            let site = "http://evil.example".parse().unwrap();
            request.headers_mut().insert(header::ORIGIN, site);
        }
        request
    }

    #[test]
    fn only_its_own_machine_is_near() {
        let setting = "pd.open_pages";
        let (near, open) = ([false, true]).map(|open| Near { open, setting }).into();
        for (from, origin, is_near) in [
            (Some("127.0.0.1"), false, true),
            (Some("127.3.2.1"), false, true),
            (Some("::1"), false, true),
            (Some("::ffff:127.0.0.1"), false, true),
            (Some("127.0.0.1"), true, false),
            (Some("10.0.0.1"), false, false),
            (Some("::ffff:10.0.0.1"), false, false),
            (None, false, false),
        ] {
            let request = request(from, origin);
            assert_eq!(Near::judge(near, &request).is_ok(), is_near, "{from:?}");
            assert_eq!(Near::judge(open, &request).is_ok(), !origin, "{from:?}");
        }
        let refusal = near.judge(&request(Some("10.0.0.1"), false)).unwrap_err();
        assert!(refusal.contains("set pd.open_pages = true"), "{refusal}");
    }
}
