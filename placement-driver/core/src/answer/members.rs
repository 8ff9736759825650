//! The calls that every member answers at once, even without a quorum: GetMembers and GetClusterInfo.
//!
//! *Place*: called by [`crate::member`] for any role.
//!
//! *Invariants*: the leader is absent when unknown; client urls carry `http://`.
//!
//! *Limits and failure*: before the first leader gave the cluster its identity there is no id to put into
//! the header, and the member refuses instead: clients skip it and ask again.
//!
//! *Source*: `proto/README.md`, Start-up probes.
//!
//! *Next stop*: [`super::overview`].

use super::header;
use crate::config::MemberAddress;
use yadkv_proto::id::PeerId;
use yadkv_proto::pdpb;

/// All members and the leader.
pub fn get_members(
    cluster_id: u64,
    members: &[MemberAddress],
    leader: Option<PeerId>,
) -> pdpb::GetMembersResponse {
    let leader = leader
        .and_then(|leader| members.iter().find(|member| member.id == leader))
        .map(shown);
    pdpb::GetMembersResponse {
        header: header(cluster_id),
        members: members.iter().map(shown).collect(),
        etcd_leader: leader.clone(),
        leader,
        ..Default::default()
    }
}

/// What kind of service this is. An empty list of modes would crash old Go clients.
pub fn get_cluster_info(cluster_id: u64) -> pdpb::GetClusterInfoResponse {
    pdpb::GetClusterInfoResponse {
        header: header(cluster_id),
        service_modes: vec![pdpb::ServiceMode::PdSvcMode as i32],
        ..Default::default()
    }
}

fn shown(member: &MemberAddress) -> pdpb::Member {
    pdpb::Member {
        name: member.name.clone(),
        member_id: member.id.0,
        peer_urls: vec![member.peer_url.clone()],
        client_urls: vec![member.client_url.clone()],
        binary_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    }
}
