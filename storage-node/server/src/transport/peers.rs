//! The receiving end of one pair of stores: its frames go to the workers.
//!
//! *Life of a connection*: it begins as [`super::wire`] says → frames, each message to its worker → it ends, or the store
//! stops, or something does not fit: the sender is told what.
//!
//! *Invariants*: a frame of another cluster or a later format ends the connection; whether the sender belongs to a region
//! is checked by the region's worker.
//!
//! *Limits*: messages that find a full inbox are dropped. A connection that brings no whole frame and no ping for
//! [`SILENT_MAX`] is closed.
//!
//! *Next stop*: [`crate::router`].

use super::FORMAT;
use super::wire::{FRAME_BYTES_MAX, PREFACE, codec};
use crate::router::Router;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;
use yadkv_proto::id::ClusterId;
use yadkv_proto::yadkvpb::Frame;
use yadkv_tls::Connection;

/// Far longer than between two pings, for a large frame may be on a slow network.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// How long a reason may be on its way: a socket that is closed before it was read takes it back.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Takes connections of other stores. Cheap to clone.
#[derive(Clone)]
pub struct Peers {
    /// Our cluster.
    pub cluster: ClusterId,
    /// Where messages go.
    pub router: Router,
    /// Ends the connections when the node stops.
    pub stop: CancellationToken,
}

impl Peers {
    /// Serves those connections that are other stores' and leaves the rest.
    pub fn take_out(
        self,
        connections: impl Stream<Item = io::Result<Connection>>,
    ) -> impl Stream<Item = io::Result<Connection>> {
        connections.filter_map(move |connection| {
            let left = match connection {
                Ok(connection) if connection.is_of_peer() => {
                    tokio::spawn(self.clone().serve(connection));
                    None
                }
                other => Some(other),
            };
            std::future::ready(left)
        })
    }

    /// Serves a connection until it ends.
    async fn serve(self, connection: Connection) {
        let (mut reader, mut writer) = tokio::io::split(connection);
        let received = tokio::select! {
            received = self.receive(&mut reader, &mut writer) => received,
            () = self.stop.cancelled() => Err("the store stops".into()),
        };
        let Err(reason) = received else { return };
        tracing::debug!(reason, "a connection of another store ends");
        let ending = async {
            let length = u32::try_from(reason.len()).unwrap_or(u32::MAX);
            writer.write_all(&length.to_be_bytes()).await?;
            writer.write_all(reason.as_bytes()).await?;
            writer.shutdown().await?;
            let mut sink = [0; 4096];
            while reader.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        // Nobody may be there any more.
        let _ = tokio::time::timeout(LINGER_MAX, ending).await;
    }

    /// Until the other side has ended it, or for a reason of our own.
    async fn receive(
        &self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), String> {
        let mut preface = [0; PREFACE.len()];
        let begun = tokio::time::timeout(SILENT_MAX, reader.read_exact(&mut preface)).await;
        if !matches!(begun, Ok(Ok(_))) {
            return Ok(());
        }
        if preface != *PREFACE {
            return Err("not how this release of yadkv begins: upgrade it".into());
        }
        let mut frames = FramedRead::new(reader, codec(FRAME_BYTES_MAX));
        loop {
            let Ok(read) = tokio::time::timeout(SILENT_MAX, frames.next()).await else {
                return Err(format!("nothing came for {SILENT_MAX:?}"));
            };
            let frame = match read {
                None => return Ok(()),
                Some(frame) => frame.map_err(|error| error.to_string())?,
            };
            if !frame.is_empty() {
                self.take(frame.freeze())?;
                continue;
            }
            let answered = async {
                writer.write_all(&0_u32.to_be_bytes()).await?;
                writer.flush().await
            };
            // Who pings and never reads is given up.
            let answered = tokio::time::timeout(SILENT_MAX, answered).await;
            if !matches!(answered, Ok(Ok(()))) {
                return Ok(());
            }
        }
    }

    fn take(&self, bytes: Bytes) -> Result<(), String> {
        let frame = Frame::decode(bytes).map_err(|error| format!("no frame: {error}"))?;
        let (format, theirs, ours) = (frame.format, frame.cluster_id, self.cluster.0);
        if format != FORMAT {
            return Err(format!(
                "frame format {format} is not known to this release ({FORMAT}): upgrade it"
            ));
        }
        if theirs != ours {
            return Err(format!("frame of cluster {theirs}, this is {ours}"));
        }
        for envelope in frame.envelopes {
            self.router.receive(envelope);
        }
        Ok(())
    }
}
