//! How a command ends badly: one line that says what happened, where, and what to do.
//!
//! *Place*: every command returns it, `main` prints it and exits with code 1.
//!
//! *Next stop*: [`crate::settings`].

/// What went wrong, in words for the person at the terminal.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failure(pub(crate) String);

/// Result of a command.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Adds where it happened.
pub(crate) trait Context<T> {
    /// `what: error`.
    fn context(self, what: impl std::fmt::Display) -> Outcome<T>;
}

impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Outcome<T> {
        self.map_err(|error| Failure(format!("{what}: {error}")))
    }
}
