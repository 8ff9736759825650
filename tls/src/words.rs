//! What went wrong in a handshake, in words for who reads an error or a log.
//!
//! *Invariants*: the words say who is meant, what is wrong, and where it helps what to do.
//!
//! *Next stop*: the servers' `node`.

use rustls::{AlertDescription, CertificateError, Error};
use std::io;

/// Why a server that we dial is not trusted, or does not take us.
pub(crate) fn of_server(address: &str, error: &io::Error) -> String {
    let Some(reason) = tls_error(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => format!(
                "{address} hung up in the TLS handshake: does it speak TLS, and is it a server of this cluster?"
            ),
            _ => format!("TLS with {address}: {error}"),
        };
    };
    match reason {
        Error::InvalidCertificate(wrong) => {
            format!("the certificate of {address} {}", of_certificate(wrong))
        }
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            format!(
                "{address} speaks plain text, no TLS: leave tls.* (--tls-…) out, or set it there"
            )
        }
        Error::NoApplicationProtocol
        | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
            format!(
                "{address} does not speak the protocol that is wanted here: is it the right port?"
            )
        }
        Error::AlertReceived(alert) => of_alert(address, *alert),
        other => format!("TLS with {address}: {other}"),
    }
}

/// Why a server hangs up before it has said anything, after a handshake that was fine for us.
pub(crate) fn of_refusal(address: &str, error: &io::Error) -> String {
    match tls_error(error) {
        Some(Error::AlertReceived(alert)) => of_alert(address, *alert),
        Some(other) => format!("TLS with {address}: {other}"),
        None => format!("{address} hung up right after the TLS handshake: {error}"),
    }
}

/// Why one that dialled us is not let in.
pub(crate) fn of_client(error: &io::Error) -> String {
    let Some(reason) = tls_error(error) else {
        return format!("it hung up in the TLS handshake: {error}");
    };
    match reason {
        Error::NoCertificatesPresented => "it has no certificate".into(),
        Error::InvalidCertificate(wrong) => format!("its certificate {}", of_certificate(wrong)),
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } => {
            "it speaks plain text, no TLS".into()
        }
        Error::NoApplicationProtocol => {
            "it speaks another protocol: is this the right port?".into()
        }
        Error::AlertReceived(alert) => format!("it does not trust us ({alert:?})"),
        other => other.to_string(),
    }
}

/// Whether these are the first bytes of a TLS record that tells of a failure.
pub(crate) fn is_tls(first: &[u8]) -> bool {
    const ALERT: u8 = 0x15;
    const VERSION: u8 = 0x03;
    first.first() == Some(&ALERT) && first.get(1).is_none_or(|byte| *byte == VERSION)
}

/// What a client without TLS is told when it meets a server with it.
pub(crate) fn wants_tls(address: &str) -> String {
    format!("{address} speaks TLS only: set tls.* (--tls-ca, --tls-cert, --tls-key)")
}

/// The cause at the end of a chain of errors: what tonic and hyper say themselves is only "transport error".
pub fn cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

/// A status with its cause.
pub fn of_status(status: &tonic::Status) -> String {
    let cause = std::error::Error::source(status).map(cause);
    match (status.message(), cause) {
        (message, None) => message.to_owned(),
        ("", Some(cause)) => cause,
        (message, Some(cause)) if message.contains(&cause) => message.to_owned(),
        (message, Some(cause)) => format!("{message}: {cause}"),
    }
}

/// What TLS says, inside of what the stream says.
fn tls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn of_certificate(wrong: &CertificateError) -> String {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "is expired: it needs a new one".into()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: are the clocks right?".into()
        }
        // Two CAs of the same name differ in the signature only.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is not signed by our CA (tls.ca)".into()
        }
        CertificateError::NotValidForName => "is for other names".into(),
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "is for other names: it has none".into()
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            format!("is for other names: {}", presented.join(", "))
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not made for this use (extended key usage)".into()
        }
        other => format!("cannot be trusted: {other}"),
    }
}

fn of_alert(address: &str, alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            format!(
                "{address} asks for a certificate and we have none: set tls.cert and tls.key (--tls-cert, --tls-key)"
            )
        }
        AlertDescription::CertificateExpired => {
            format!(
                "{address} refuses our certificate: it is expired, or not valid yet by the clock there"
            )
        }
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            format!("{address} refuses our certificate: it is not signed by the CA there")
        }
        AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied => {
            format!("{address} refuses our certificate ({alert:?})")
        }
        other => format!("{address} ends the TLS handshake: {other:?}"),
    }
}
