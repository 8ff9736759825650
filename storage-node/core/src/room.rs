//! How much room a store has on its disk.
//!
//! *Place*: the server looks and tells the workers ([`crate::store::message::Input::Room`]) and, for those who write,
//! [`crate::front::Front`].
//!
//! *Life of a disk that fills*: [`Room::Plenty`] → [`Room::Scarce`]: writes are refused, leadership goes to other stores,
//! snapshots are refused; what other leaders send is still written, from the reserve → [`Room::None`]: that is dropped
//! too, as if the network had lost it. Votes and hard states are small and go on. Each step ends when there is room again.
//!
//! *Limits and failure*: what is written between two looks comes out of the reserve as well. A disk that is used up all the
//! same fails a write, and the process begins again when there is room.
//!
//! *Next stop*: the peer's `handover`.

/// Room on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// More than the reserve.
    #[default]
    Plenty,
    /// The reserve is touched.
    Scarce,
    /// Most of the reserve is gone.
    None,
}
