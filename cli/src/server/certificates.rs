//! The certificates of a playground with `--tls`.
//!
//! | file in `tls/` | content |
//! |---|---|
//! | `ca.pem` | what servers and clients trust |
//! | `server.pem`, `server-key.pem` | shown by every server, which is reached at [`HOSTS`] |
//! | `client.pem`, `client-key.pem` | for commands and applications |
//!
//! *Life of a set*: made at the first start → used again at the next ones → made anew when less than [`LEFT_MIN`] of its
//! [`VALID`] is left, or it cannot be used.
//!
//! *Invariants*: `ca.pem` is written last and removed first: where it is, the others fit it. The key of the CA is kept
//! nowhere, keys are for their owner only.
//!
//! *Next stop*: `yadkv_tls::authority`.

use crate::failure::{Context, Outcome};
use crate::tls::settings;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use yadkv_client::TlsFiles;
use yadkv_tls::Tls;
use yadkv_tls::authority::{Authority, replace};

/// Where the servers are reached.
const HOSTS: [&str; 3] = ["127.0.0.1", "::1", "localhost"];
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How long a set is valid.
const VALID: Duration = DAY.saturating_mul(365);
/// With less left a new one is made.
const LEFT_MIN: Duration = DAY.saturating_mul(7);

/// Files of both sides.
#[derive(Clone, Debug)]
pub(super) struct Certificates {
    /// Every server's.
    pub(super) server: TlsFiles,
    /// Every client's.
    pub(super) client: TlsFiles,
}

impl Certificates {
    /// Those of a folder, made if they are not there.
    pub(super) fn prepare(folder: &Path) -> Outcome<Self> {
        let folder = std::path::absolute(folder).context(folder.display())?;
        let all = Self::at(&folder);
        if !all.are_fine() {
            fs::create_dir_all(&folder).context(folder.display())?;
            all.make().context(folder.display())?;
        }
        Ok(all)
    }

    fn at(folder: &Path) -> Self {
        let of = |who: &str| TlsFiles {
            ca: folder.join("ca.pem"),
            identity: Some((
                folder.join(format!("{who}.pem")),
                folder.join(format!("{who}-key.pem")),
            )),
        };
        Self {
            server: of("server"),
            client: of("client"),
        }
    }

    fn are_fine(&self) -> bool {
        let enough = SystemTime::now() + LEFT_MIN;
        let last = |files: &TlsFiles| Tls::client(&settings(Some(files))).ok()?.valid_until();
        [&self.server, &self.client]
            .iter()
            .all(|files| last(files).is_some_and(|end| end > enough))
    }

    fn make(&self) -> Outcome {
        let ca = &self.server.ca;
        let removed = fs::remove_file(ca);
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).context(ca.display());
        }
        let authority = Authority::new("yadkv playground CA", VALID).context("CA")?;
        for (name, files) in [("server", &self.server), ("client", &self.client)] {
            let pair = authority.issue(&format!("yadkv playground {name}"), &HOSTS, VALID);
            let pair = pair.context(name)?;
            if let Some((cert, key)) = &files.identity {
                pair.write(cert, key).context(cert.display())?;
            }
        }
        replace(ca, &authority.pem(), 0o644).context(ca.display())
    }

    /// What a person needs to use them.
    pub(super) fn usage(&self, pd: &str) -> [String; 2] {
        let none = (PathBuf::new(), PathBuf::new());
        let (cert, key) = self.client.identity.as_ref().unwrap_or(&none);
        let (ca, cert, key) = (self.client.ca.display(), cert.display(), key.display());
        [
            format!(
                "with certificates: yadkv raw --pd {pd} --tls-ca '{ca}' --tls-cert '{cert}' --tls-key '{key}' get KEY"
            ),
            format!(
                "for a whole shell: export YADKV_TLS_CA='{ca}' YADKV_TLS_CERT='{cert}' YADKV_TLS_KEY='{key}'"
            ),
        ]
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_set_is_kept_until_it_is_of_no_use() {
        let folder = tempfile::TempDir::new().unwrap();
        let folder = folder.path().join("tls");
        let read = |files: &TlsFiles| {
            let (cert, key) = files.identity.clone().unwrap();
            [&files.ca, &cert, &key].map(|path| fs::read_to_string(path).unwrap())
        };
        let first = Certificates::prepare(&folder).unwrap();
        let (server, client) = (read(&first.server), read(&first.client));
        let (_, key) = first.client.identity.clone().unwrap();
        assert_eq!(
            fs::metadata(&key).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let again = Certificates::prepare(&folder).unwrap();
        assert_eq!(
            (&server, &client),
            (&read(&again.server), &read(&again.client))
        );
        // As a start that was interrupted leaves it.
        fs::remove_file(&first.server.ca).unwrap();
        let anew = Certificates::prepare(&folder).unwrap();
        assert!(Tls::server(&settings(Some(&anew.server))).unwrap().is_on());
        assert_ne!(read(&anew.client)[1], client[1]);
        // One that soon ends.
        let authority = Authority::new("CA", DAY).unwrap();
        let pair = authority.issue("server", &HOSTS, DAY).unwrap();
        let (cert, key) = anew.server.identity.clone().unwrap();
        pair.write(&cert, &key).unwrap();
        let fresh = Certificates::prepare(&folder).unwrap();
        assert_ne!(read(&fresh.server)[1], pair.cert);
    }
}
