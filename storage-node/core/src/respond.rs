//! Who waits for a request, and how an outcome becomes the response that this caller expects.
//!
//! *Place*: [`crate::front`] makes a [`Responder`]; it travels with the command through worker and apply;
//! whoever knows the outcome uses it up.
//!
//! *Invariants*: a responder answers exactly once; dropping one unanswered answers "outcome unknown", so no
//! caller waits for ever.
//!
//! *Next stop*: [`crate::raw`].

use crate::check::Report;
use crate::refusal;
use bytes::Bytes;
use yadkv_proto::api::StoreResponse;
use yadkv_proto::codec;
use yadkv_proto::errorpb;
use yadkv_proto::kvrpcpb::{
    KeyError, RawBatchDeleteResponse, RawBatchGetResponse, RawBatchPutResponse,
    RawBatchScanResponse, RawCasResponse, RawChecksumResponse, RawDeleteRangeResponse,
    RawDeleteResponse, RawGetKeyTtlResponse, RawGetResponse, RawPutResponse, RawScanResponse,
    ScanLockResponse, SplitRegionResponse,
};
use yadkv_proto::metapb::Region;
use yadkv_proto::yadkvpb::CheckRegionResponse;

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
    SplitRegion,
    CheckRegion,
}

/// How a caller sees the borders of regions.
///
/// Any bytes may be a border, as long as no memcomparable encoding goes on behind itself there. A caller whose keys
/// are encodings is shown the least one that is not below it, which tiles its keys identically.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Borders {
    /// As they are.
    True,
    /// As the encodings they round up to.
    Encoded,
}

impl Borders {
    /// The regions as this caller is shown them.
    pub fn of_all(self, mut regions: Vec<Region>) -> Vec<Region> {
        if self == Self::Encoded {
            for region in &mut regions {
                region.start_key = codec::ceil(&region.start_key);
                region.end_key = codec::ceil(&region.end_key);
            }
        }
        regions
    }

    /// An error with the regions in it as this caller is shown them.
    pub fn in_error(self, mut error: errorpb::Error) -> errorpb::Error {
        if let Some(epoch) = &mut error.epoch_not_match {
            epoch.current_regions = self.of_all(std::mem::take(&mut epoch.current_regions));
        }
        if let Some(outside) = &mut error.key_not_in_region
            && self == Self::Encoded
        {
            outside.start_key = codec::ceil(&outside.start_key);
            outside.end_key = codec::ceil(&outside.end_key);
        }
        error
    }
}

/// What a write or split did when it was applied.
#[derive(Clone, Debug, PartialEq)]
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
    /// The region was cut into these, in key order.
    Split(Vec<Region>),
    /// The replicas of the region were compared.
    Checked(Box<Report>),
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
            | Self::KvScanLock
            | Self::SplitRegion
            | Self::CheckRegion => false,
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
            Self::SplitRegion => with!(SplitRegion, SplitRegionResponse),
            Self::CheckRegion => with!(CheckRegion, CheckRegionResponse),
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
            Self::CheckRegion => with!(CheckRegion, CheckRegionResponse),
            Self::RawBatchGet | Self::RawScan | Self::RawBatchScan | Self::KvScanLock => self
                .refused(errorpb::Error {
                    message: error,
                    ..Default::default()
                }),
            Self::SplitRegion => StoreResponse::SplitRegion(SplitRegionResponse {
                errors: vec![KeyError {
                    abort: error,
                    ..Default::default()
                }],
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
            (Self::SplitRegion, Outcome::Split(regions)) => {
                StoreResponse::SplitRegion(SplitRegionResponse {
                    regions,
                    ..Default::default()
                })
            }
            (Self::CheckRegion, Outcome::Checked(report)) => {
                StoreResponse::CheckRegion(report.into_response())
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
    borders: Borders,
    reply: Option<Reply>,
}

impl Responder {
    /// A caller that expects `kind` and is reached through `reply`.
    pub fn new(kind: Kind, borders: Borders, reply: Reply) -> Self {
        Self {
            kind,
            borders,
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

    /// How the caller sees borders.
    pub fn borders(&self) -> Borders {
        self.borders
    }

    /// Answers with a region error.
    pub fn refuse(self, error: errorpb::Error) {
        let response = self.kind.refused(self.borders.in_error(error));
        self.answer(response);
    }

    /// Answers that the request itself is wrong.
    pub fn invalid(self, reason: String) {
        let response = self.kind.invalid(reason);
        self.answer(response);
    }

    /// Answers that the write or split took effect.
    pub fn done(self, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Split(regions) => Outcome::Split(self.borders.of_all(regions)),
            other => other,
        };
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
