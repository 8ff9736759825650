//! Calls to the placement driver: finds the leader, goes on with another member when one does not answer.
//!
//! *Place*: [`super::Router`], `tso` and `admin` call it; it calls [`Runtime::pd`].
//!
//! *Types to know*: [`PdClient`].
//!
//! *Life of a call*: to the member believed to lead → no answer → all members are asked at once who leads; the
//! first that names another one wins; if they still name the silent one, the next member in line is asked, since
//! followers forward → again, until the caller's deadline.
//!
//! *Invariants*: members that answer for another cluster are not followed. Many failures at once cause one round
//! of questions.
//!
//! *Source*: `proto/README.md`, Headers.
//!
//! *Next stop*: [`crate::runtime`].

use super::budget::{Budget, Trouble, Wait};
use crate::error::Error;
use crate::runtime::{CallError, Runtime};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use yadkv_proto::api::{GetPrevRegionResponse, GetRegionById, PdRequest, PdResponse};
use yadkv_proto::{keyspacepb, pdpb};

/// How long members may take to say who leads; they answer from memory.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(1);

/// Requests go to one placement driver at a time.
pub(crate) struct PdClient {
    runtime: Arc<dyn Runtime>,
    endpoints: Vec<String>,
    state: Mutex<State>,
    /// Held while the members are asked who leads.
    refreshing: futures::lock::Mutex<()>,
}

struct State {
    cluster_id: u64,
    members: Vec<String>,
    current: String,
    /// Counts changes of `current`.
    generation: u64,
}

/// A placement driver's answer: a response, or a header error.
pub(crate) type Answer<T> = Result<T, pdpb::Error>;

/// Responses have a header.
pub(crate) trait Headed: TryFrom<PdResponse> {
    fn header(&self) -> Option<&pdpb::ResponseHeader>;
}

macro_rules! headed {
    ($($name:ty $(, $inner:tt)?);* $(;)?) => {$(
        impl Headed for $name {
            fn header(&self) -> Option<&pdpb::ResponseHeader> {
                self$(.$inner)?.header.as_ref()
            }
        }
    )*};
}

headed!(
    pdpb::GetMembersResponse;
    pdpb::TsoResponse;
    pdpb::GetRegionResponse;
    GetRegionById, 0;
    GetPrevRegionResponse, 0;
    pdpb::ScanRegionsResponse;
    pdpb::GetStoreResponse;
    pdpb::GetAllStoresResponse;
    pdpb::GetGcSafePointResponse;
    pdpb::UpdateGcSafePointResponse;
    keyspacepb::LoadKeyspaceResponse;
);

impl PdClient {
    /// A client of the cluster that `endpoints` (`host:port` or a URL) belong to. Nothing is sent yet.
    pub(crate) fn new(runtime: Arc<dyn Runtime>, endpoints: &[String]) -> Self {
        let endpoints: Vec<String> = endpoints.iter().map(|url| address(url)).collect();
        Self {
            runtime,
            state: Mutex::new(State {
                cluster_id: 0,
                members: endpoints.clone(),
                current: endpoints.first().cloned().unwrap_or_default(),
                generation: 0,
            }),
            endpoints,
            refreshing: futures::lock::Mutex::new(()),
        }
    }

    /// The cluster's id; 0 before the first answer.
    pub(crate) fn cluster_id(&self) -> u64 {
        self.state.lock().cluster_id
    }

    /// Asks the members until one of them knows the leader.
    pub(crate) async fn connect(&self, budget: &mut Budget) -> Result<(), Error> {
        loop {
            budget.attempt()?;
            let generation = self.state.lock().generation;
            let silence = budget.wait_for(self.refresh(generation, None)).await?;
            if self.cluster_id() != 0 {
                return Ok(());
            }
            let mut text = format!("no placement driver of {:?} answers", self.endpoints);
            if let Some(reason) = silence {
                text = format!("{text}: {reason}");
            }
            budget.pause(Trouble::not_done(Wait::Grow, text)).await?;
        }
    }

    /// Sends a request until it is answered, by whichever member.
    pub(crate) async fn call<T: Headed>(
        &self,
        budget: &mut Budget,
        make: impl Fn(Option<pdpb::RequestHeader>) -> PdRequest,
    ) -> Result<Answer<T>, Error> {
        loop {
            let timeout = budget.attempt()?;
            let (current, generation, cluster_id) = {
                let state = self.state.lock();
                (state.current.clone(), state.generation, state.cluster_id)
            };
            let header = pdpb::RequestHeader {
                cluster_id,
                ..Default::default()
            };
            let result = self.runtime.pd(&current, make(Some(header)), timeout).await;
            let trouble = match result {
                Ok(response) => match answer(response) {
                    Ok(answer) => return Ok(answer),
                    // Nobody is to blame: ask the same member again.
                    Err(trouble) => {
                        budget.pause(trouble).await?;
                        continue;
                    }
                },
                Err(CallError::NotSent(text)) => Trouble::not_done(Wait::None, text),
                // Whatever is asked here may be asked twice.
                Err(CallError::Lost(text)) => Trouble::not_done(Wait::Grow, text),
                Err(CallError::Refused(text)) => return Err(budget.refused(text)),
                Err(CallError::NotServed(reason)) => {
                    return Err(Error::NotServed {
                        call: budget.call,
                        reason,
                    });
                }
            };
            let trouble = Trouble {
                text: format!("placement driver {current}: {}", trouble.text),
                ..trouble
            };
            budget
                .wait_for(self.refresh(generation, Some(&current)))
                .await?;
            budget.pause(trouble).await?;
        }
    }

    /// Finds another member to talk to, unless somebody has since `generation`. If nobody knows one, it says why one of them
    /// did not answer.
    async fn refresh(&self, generation: u64, silent: Option<&str>) -> Option<String> {
        let _only_one = self.refreshing.lock().await;
        let members = {
            let state = self.state.lock();
            if state.generation != generation {
                return None;
            }
            let mut members = state.members.clone();
            members.extend(self.endpoints.iter().cloned());
            members.sort();
            members.dedup();
            members
        };
        let mut questions: FuturesUnordered<_> = members
            .iter()
            .map(|member| {
                let request = pdpb::GetMembersRequest::default().into();
                self.runtime.pd(member, request, MEMBERS_TIMEOUT)
            })
            .collect();
        let mut silence = None;
        while let Some(result) = questions.next().await {
            match result {
                Ok(PdResponse::GetMembers(response)) => {
                    if self.learn(response, silent) {
                        return None;
                    }
                }
                Ok(_) => {}
                Err(error) => silence = Some(error.to_string()),
            }
        }
        // Nobody knows better: the next in line may forward, or lead by then.
        let mut state = self.state.lock();
        let after = members.iter().find(|member| **member > state.current);
        if let Some(next) = after.or(members.first()) {
            state.current.clone_from(next);
        }
        state.generation += 1;
        silence
    }

    /// Takes in a member's view; true if it names a leader other than the silent member.
    fn learn(&self, response: pdpb::GetMembersResponse, silent: Option<&str>) -> bool {
        let mut state = self.state.lock();
        let cluster_id = response
            .header
            .as_ref()
            .map_or(0, |header| header.cluster_id);
        if cluster_id == 0 || (state.cluster_id != 0 && state.cluster_id != cluster_id) {
            return false;
        }
        state.cluster_id = cluster_id;
        let members: Vec<_> = response.members.iter().filter_map(client_address).collect();
        if !members.is_empty() {
            state.members = members;
        }
        let leader = response.leader.as_ref().and_then(client_address);
        match leader {
            Some(leader) if Some(leader.as_str()) != silent => {
                state.current = leader;
                state.generation += 1;
                true
            }
            _ => false,
        }
    }
}

/// The response of the right kind, its header error, or the reason to ask again.
fn answer<T: Headed>(response: PdResponse) -> Result<Answer<T>, Trouble> {
    let name = response.name();
    let Ok(response) = T::try_from(response) else {
        let text = format!("the placement driver answered with {name}");
        return Err(Trouble::not_done(Wait::Grow, text));
    };
    match response.header().and_then(|header| header.error.clone()) {
        None => Ok(Ok(response)),
        Some(error) if error.r#type() == pdpb::ErrorType::NotBootstrapped => {
            let text = "the cluster is not bootstrapped yet: not enough stores have registered";
            Err(Trouble::not_done(Wait::Grow, text))
        }
        Some(error) => Ok(Err(error)),
    }
}

fn client_address(member: &pdpb::Member) -> Option<String> {
    member.client_urls.first().map(|url| address(url))
}

/// `host:port` of a URL.
pub(crate) fn address(url: &str) -> String {
    let url = url.trim();
    let bare = ["http://", "https://"]
        .iter()
        .find_map(|scheme| url.strip_prefix(scheme));
    let url = bare.unwrap_or(url);
    url.trim_end_matches('/').to_owned()
}
