//! Two calls of etcd's API that Go clients make on this port.
//!
//! *Place*: tonic calls it; answered from the list of members, on every member.
//!
//! *Why*: old Go clients poll a safe-point key by `KV/Range` and stop reading after 99 s without an answer;
//! newer ones do not start without `Cluster/MemberList`. A small true answer suffices: no such key, and the
//! real members.
//!
//! *Source*: `proto/README.md`, Start-up probes.
//!
//! *Next stop*: [`crate::http`].

use crate::driver::Handle;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use yadkv_placement_core::MemberAddress;
use yadkv_proto::etcdserverpb::cluster_server::Cluster;
use yadkv_proto::etcdserverpb::kv_server::Kv;
use yadkv_proto::etcdserverpb::{
    Member, MemberListRequest, MemberListResponse, RangeRequest, RangeResponse, ResponseHeader,
};

/// The etcd shims of a member. Cheap to clone.
#[derive(Clone)]
pub struct Etcd {
    /// For cluster id and term.
    pub handle: Handle,
    /// This member's id.
    pub member_id: u64,
    /// All members.
    pub members: Arc<Vec<MemberAddress>>,
}

impl Etcd {
    fn header(&self) -> Option<ResponseHeader> {
        let state = self.handle.state();
        let state = state.borrow();
        Some(ResponseHeader {
            cluster_id: state.cluster_id,
            member_id: self.member_id,
            revision: 1,
            raft_term: state.term,
        })
    }
}

#[tonic::async_trait]
impl Kv for Etcd {
    async fn range(
        &self,
        _request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        Ok(Response::new(RangeResponse {
            header: self.header(),
            ..RangeResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl Cluster for Etcd {
    async fn member_list(
        &self,
        _request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        let show = |member: &MemberAddress| Member {
            id: member.id.0,
            name: member.name.clone(),
            peer_ur_ls: vec![member.peer_url.clone()],
            client_ur_ls: vec![member.client_url.clone()],
            is_learner: false,
        };
        let members = self.members.iter().map(show).collect();
        Ok(Response::new(MemberListResponse {
            header: self.header(),
            members,
        }))
    }
}
