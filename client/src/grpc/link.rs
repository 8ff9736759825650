//! One server's connection: made when needed, made anew when broken, never hammered.
//!
//! *Invariants*: at most one attempt to connect is under way. Between attempts lies a pause that grows; calls in
//! it fail at once as never sent.
//!
//! *Next stop*: [`super::stream`].

use crate::runtime::CallError;
use parking_lot::Mutex;
use std::time::{Duration, Instant};
use tonic::Status;
use tonic::transport::Channel;
use yadkv_proto::grpc::PIECE;
use yadkv_tls::{Connector, Tls, words};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// A server that hangs or a network that swallows packets is noticed after the sum of both.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(3);

/// Flow-control windows: large batches must not wait for round trips.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// The connection to one address.
pub(super) struct Link {
    address: String,
    tls: Tls,
    connector: Connector,
    state: Mutex<State>,
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    channel: Option<Channel>,
    /// Counts connections, so that only the one that broke is dropped.
    generation: u64,
    pause: Duration,
    not_before: Option<Instant>,
    last_error: String,
}

impl Link {
    pub(super) fn new(address: &str, tls: &Tls) -> Self {
        Self {
            address: address.to_owned(),
            tls: tls.clone(),
            connector: tls.connector(),
            state: Mutex::new(State::default()),
            connecting: tokio::sync::Mutex::new(()),
        }
    }

    /// The connection and its generation.
    pub(super) async fn channel(&self) -> Result<(Channel, u64), CallError> {
        if let Some(ready) = self.ready()? {
            return Ok(ready);
        }
        let _only_one = self.connecting.lock().await;
        if let Some(ready) = self.ready()? {
            return Ok(ready);
        }
        let result = self.connect().await;
        let mut state = self.state.lock();
        match result {
            Ok(channel) => {
                state.generation += 1;
                state.channel = Some(channel.clone());
                state.pause = Duration::ZERO;
                state.not_before = None;
                Ok((channel, state.generation))
            }
            Err(text) => {
                state.pause = (state.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                state.not_before = Some(Instant::now() + state.pause);
                state.last_error.clone_from(&text);
                Err(CallError::NotSent(text))
            }
        }
    }

    /// Why a call failed, in words.
    pub(super) fn explain(&self, status: &Status) -> String {
        self.connector.explain(status)
    }

    /// Drops a broken connection; the next call connects anew.
    pub(super) fn broken(&self, generation: u64) {
        let mut state = self.state.lock();
        if state.generation == generation {
            state.channel = None;
        }
    }

    fn ready(&self) -> Result<Option<(Channel, u64)>, CallError> {
        let state = self.state.lock();
        if let Some(channel) = &state.channel {
            return Ok(Some((channel.clone(), state.generation)));
        }
        match state.not_before {
            Some(moment) if Instant::now() < moment => {
                Err(CallError::NotSent(state.last_error.clone()))
            }
            _ => Ok(None),
        }
    }

    async fn connect(&self) -> Result<Channel, String> {
        let endpoint = self
            .tls
            .endpoint(&self.address)
            .map_err(|error| format!("bad address {:?}: {error}", self.address))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES)
            .max_frame_size(PIECE);
        let connecting = endpoint.connect_with_connector(self.connector.clone());
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        match connected {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(words::cause(&error)),
            Err(_) => Err(format!("no connection within {CONNECT_TIMEOUT:?}")),
        }
    }
}
