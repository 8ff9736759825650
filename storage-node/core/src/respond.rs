//! Who waits for a request, and how an outcome becomes the response that this caller expects.
//!
//! *Place*: [`crate::front`] makes a [`Responder`]; it travels with the command through worker and apply;
//! whoever knows the outcome uses it up.
//!
//! *Invariants*: a responder answers exactly once; dropping one unanswered answers "outcome unknown", so no
//! caller waits for ever.
//!
//! *Next stop*: [`crate::raw`].

use crate::refusal;
use bytes::Bytes;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::errorpb;
use yadkv_proto::kvrpcpb::{
    RawBatchDeleteResponse, RawBatchGetResponse, RawBatchPutResponse, RawBatchScanResponse,
    RawCasResponse, RawChecksumResponse, RawDeleteRangeResponse, RawDeleteResponse,
    RawGetKeyTtlResponse, RawGetResponse, RawPutResponse, RawScanResponse, ScanLockResponse,
};

/// Takes the response to where the caller waits.
pub type Reply = Box<dyn FnOnce(StoreResponse) + Send>;

/// Which response a caller expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    RawGet,
    RawBatchGet,
    RawPut,
    RawBatchPut,
    RawDelete,
    RawBatchDelete,
    RawDeleteRange,
    RawScan,
    RawBatchScan,
    RawGetKeyTtl,
    RawCompareAndSwap,
    RawChecksum,
    KvScanLock,
}

/// What a write did when it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It took effect.
    Done,
    /// A compare-and-swap was judged.
    Swapped {
        /// Whether the present value was as expected, and was replaced.
        succeeded: bool,
        /// The value before, whether or not it was replaced.
        previous: Option<Bytes>,
    },
}

impl Kind {
    /// Whether the request changes data.
    pub fn is_write(self) -> bool {
        match self {
            Self::RawPut
            | Self::RawBatchPut
            | Self::RawDelete
            | Self::RawBatchDelete
            | Self::RawDeleteRange
            | Self::RawCompareAndSwap => true,
            Self::RawGet
            | Self::RawBatchGet
            | Self::RawScan
            | Self::RawBatchScan
            | Self::RawGetKeyTtl
            | Self::RawChecksum
            | Self::KvScanLock => false,
        }
    }

    /// The response that carries a region error.
    pub fn refused(self, error: errorpb::Error) -> StoreResponse {
        let region_error = Some(Box::new(error));
        macro_rules! with {
            ($variant:ident, $message:ident) => {
                StoreResponse::$variant($message {
                    region_error,
                    ..Default::default()
                })
            };
        }
        match self {
            Self::RawGet => with!(RawGet, RawGetResponse),
            Self::RawBatchGet => with!(RawBatchGet, RawBatchGetResponse),
            Self::RawPut => with!(RawPut, RawPutResponse),
            Self::RawBatchPut => with!(RawBatchPut, RawBatchPutResponse),
            Self::RawDelete => with!(RawDelete, RawDeleteResponse),
            Self::RawBatchDelete => with!(RawBatchDelete, RawBatchDeleteResponse),
            Self::RawDeleteRange => with!(RawDeleteRange, RawDeleteRangeResponse),
            Self::RawScan => with!(RawScan, RawScanResponse),
            Self::RawBatchScan => with!(RawBatchScan, RawBatchScanResponse),
            Self::RawGetKeyTtl => with!(RawGetKeyTtl, RawGetKeyTtlResponse),
            Self::RawCompareAndSwap => with!(RawCompareAndSwap, RawCasResponse),
            Self::RawChecksum => with!(RawChecksum, RawChecksumResponse),
            Self::KvScanLock => with!(KvScanLock, ScanLockResponse),
        }
    }

    /// The response that says the request itself is wrong: in its `error` string where it has one, else as a
    /// region error with a message alone.
    pub fn invalid(self, reason: String) -> StoreResponse {
        let error = reason;
        macro_rules! with {
            ($variant:ident, $message:ident) => {
                StoreResponse::$variant($message {
                    error,
                    ..Default::default()
                })
            };
        }
        match self {
            Self::RawGet => with!(RawGet, RawGetResponse),
            Self::RawPut => with!(RawPut, RawPutResponse),
            Self::RawBatchPut => with!(RawBatchPut, RawBatchPutResponse),
            Self::RawDelete => with!(RawDelete, RawDeleteResponse),
            Self::RawBatchDelete => with!(RawBatchDelete, RawBatchDeleteResponse),
            Self::RawDeleteRange => with!(RawDeleteRange, RawDeleteRangeResponse),
            Self::RawGetKeyTtl => with!(RawGetKeyTtl, RawGetKeyTtlResponse),
            Self::RawCompareAndSwap => with!(RawCompareAndSwap, RawCasResponse),
            Self::RawChecksum => with!(RawChecksum, RawChecksumResponse),
            Self::RawBatchGet | Self::RawScan | Self::RawBatchScan | Self::KvScanLock => self
                .refused(errorpb::Error {
                    message: error,
                    ..Default::default()
                }),
        }
    }

    /// The response to a write that was applied.
    pub fn done(self, outcome: Outcome) -> StoreResponse {
        match (self, outcome) {
            (
                Self::RawCompareAndSwap,
                Outcome::Swapped {
                    succeeded,
                    previous,
                },
            ) => StoreResponse::RawCompareAndSwap(RawCasResponse {
                succeed: succeeded,
                previous_not_exist: previous.is_none(),
                previous_value: previous.unwrap_or_default(),
                ..Default::default()
            }),
            (Self::RawPut, _) => StoreResponse::RawPut(RawPutResponse::default()),
            (Self::RawBatchPut, _) => StoreResponse::RawBatchPut(RawBatchPutResponse::default()),
            (Self::RawDelete, _) => StoreResponse::RawDelete(RawDeleteResponse::default()),
            (Self::RawBatchDelete, _) => {
                StoreResponse::RawBatchDelete(RawBatchDeleteResponse::default())
            }
            (Self::RawDeleteRange, _) => {
                StoreResponse::RawDeleteRange(RawDeleteRangeResponse::default())
            }
            (kind, outcome) => {
                kind.invalid(format!("internal: {kind:?} cannot end in {outcome:?}"))
            }
        }
    }
}

/// The caller of one request.
pub struct Responder {
    kind: Kind,
    reply: Option<Reply>,
}

impl Responder {
    /// A caller that expects `kind` and is reached through `reply`.
    pub fn new(kind: Kind, reply: Reply) -> Self {
        Self {
            kind,
            reply: Some(reply),
        }
    }

    /// What the caller expects.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Answers.
    pub fn answer(mut self, response: StoreResponse) {
        if let Some(reply) = self.reply.take() {
            reply(response);
        }
    }

    /// Answers with a region error.
    pub fn refuse(self, error: errorpb::Error) {
        let response = self.kind.refused(error);
        self.answer(response);
    }

    /// Answers that the write took effect.
    pub fn done(self, outcome: Outcome) {
        let response = self.kind.done(outcome);
        self.answer(response);
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            reply(self.kind.refused(refusal::outcome_unknown()));
        }
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Responder({:?})", self.kind)
    }
}
