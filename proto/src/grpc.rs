//! How messages enter gRPC's buffers, and how much of them a store takes at once.
//!
//! *Place*: the generated clients and servers name [`SizedCodec`]; tonic calls it for every message.
//!
//! *Invariants*: the bytes are prost's. Only the room is made beforehand: a buffer that grows while a frame of
//! 128 KiB is written into it copies what is there four times.
//!
//! *Next stop*: [`crate::api`].

use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// A stream's window of HTTP/2 in stores, in bytes: large enough that frames of many clients never wait for an update.
pub const STREAM_WINDOW: u32 = 4 << 20;
/// A connection's.
pub const CONNECTION_WINDOW: u32 = 16 << 20;
/// Bytes that stores and clients take in one piece: each piece of 16 KiB, as HTTP/2 begins with, costs its sender a system
/// call.
pub const PIECE: u32 = 256 << 10;

/// Protobuf over gRPC.
#[derive(Clone, Debug)]
pub struct SizedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SizedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SizedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = SizedEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        SizedEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(BufferSettings::default())
    }
}

/// Makes room for all of a message before it writes it.
#[derive(Clone, Debug)]
pub struct SizedEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for SizedEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(item.encoded_len());
        item.encode_raw(buffer);
        Ok(())
    }
}
