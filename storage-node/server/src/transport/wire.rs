//! What goes over a connection between two stores.
//!
//! | who | bytes | meaning |
//! |---|---|---|
//! | sender | [`PREFACE`] | once, first: its last byte is the format |
//! | sender | length, `yadkvpb.Frame` | messages |
//! | sender | length 0 | a ping |
//! | receiver | length 0 | its answer |
//! | receiver | length, UTF-8 | why it ends the connection |
//!
//! Lengths are 32 bits, big-endian.
//!
//! *Place*: [`super::outgoing`] dials, [`super::peers`] takes. Snapshots go over gRPC.
//!
//! *Why not gRPC*: a put passes between stores four times, and HTTP/2 took a tenth of the servers' processor time: a task
//! more on either side, windows, and a copy into its pieces.
//!
//! *Next stop*: [`super::peers`].

use bytes::{BufMut, BytesMut};
use prost::Message;
use std::time::Duration;
use tokio_util::codec::LengthDelimitedCodec;
use yadkv_proto::yadkvpb::Frame;

/// How a connection begins.
pub(super) const PREFACE: &[u8; 6] = b"YADKV\x01";
/// Largest frame: several times what a sender packs into one, with the largest entry.
pub(super) const FRAME_BYTES_MAX: usize = 64 << 20;
/// Longest reason.
pub(super) const REASON_BYTES_MAX: usize = 4 << 10;
/// Time between two pings. Who does not answer them is given up (`outgoing`): TCP alone would wait for minutes.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Cuts what is read into frames, or reasons.
pub(super) fn codec(bytes_max: usize) -> LengthDelimitedCodec {
    let mut builder = LengthDelimitedCodec::builder();
    builder.max_frame_length(bytes_max).new_codec()
}

/// Replaces what is in a buffer by a frame, with its length.
pub(super) fn encode(frame: &Frame, into: &mut BytesMut) {
    into.clear();
    into.put_u32(0);
    let encoded = frame.encode(into);
    encoded.expect("invariant: a buffer that grows");
    let length = u32::try_from(into.len() - 4).unwrap_or(u32::MAX);
    into[..4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio_util::codec::Decoder;
    use yadkv_proto::yadkvpb::Envelope;
    use yadkv_tls::PEERS_FIRST;

    #[test]
    fn what_is_encoded_is_cut_out_again() {
        assert_eq!(PREFACE[0], PEERS_FIRST);
        let frame = Frame {
            cluster_id: 7,
            envelopes: vec![Envelope {
                region_id: 3,
                ..Envelope::default()
            }],
            ..Frame::default()
        };
        let (mut one, mut all) = (BytesMut::new(), BytesMut::new());
        for _ in 0..2 {
            encode(&frame, &mut one);
            all.extend_from_slice(&one);
            all.put_u32(0);
        }
        let mut codec = codec(FRAME_BYTES_MAX);
        for _ in 0..2 {
            let read = codec.decode(&mut all).unwrap().unwrap();
            assert_eq!(Frame::decode(read).unwrap(), frame);
            assert!(codec.decode(&mut all).unwrap().unwrap().is_empty());
        }
        assert!(all.is_empty());
    }
}
