//! The served protocol, our own messages, and the small types that every crate shares.
//!
//! *Place*: the bottom of the house. Every other crate uses it; it uses none of them.
//!
//! *Types to know*: [`id`] (what identifies a region, peer, store, term, log position), [`key`] (ranges of
//! region space), [`epoch`] (which view of a region is newer), [`codec`] (the memcomparable form of a key
//! and the border that an encoded caller is shown), [`time`] (the two clocks).
//!
//! *Generated code*: one module per `.proto` package. The files in `proto/proto` are ours; the table
//! `tags.txt` says what numbers and types the public protocol fixes, and a test compares the two.
//!
//! *Limits*: nothing here allocates beyond its input; sizes are checked by whoever receives a message.
//!
//! *Next stop*: `engine`, where keys meet a disk.

pub mod api;
pub mod codec;
pub mod epoch;
#[cfg(feature = "grpc")]
pub mod grpc;
pub mod id;
pub mod key;
pub mod region_error;
pub mod time;

/// Messages of each package, generated from `proto/proto/*.proto`.
macro_rules! package {
    ($($name:ident),*) => {$(
        #[allow(missing_docs, clippy::all, clippy::unwrap_used, unreachable_pub)]
        #[doc = concat!("Package `", stringify!($name), "`: see its `.proto` file.")]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", stringify!($name), ".rs"));
        }
    )*};
}

package!(
    apipb,
    deadlock,
    eraftpb,
    errorpb,
    etcdserverpb,
    keyspacepb,
    kvrpcpb,
    metapb,
    mvccpb,
    pdpb,
    placementpb,
    storagepb,
    tikvpb,
    yadkvpb
);
