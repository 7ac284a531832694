//! Which certificate is that of a key, and which of the others vouch for it.

use rustls::pki_types::CertificateDer;
use x509_cert::der::Decode as _;
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use x509_cert::{Certificate, TbsCertificate};

struct One {
    der: CertificateDer<'static>,
    /// `None` for one that cannot be read, which may not be the own one.
    content: Option<TbsCertificate>,
}

impl One {
    fn new(der: CertificateDer<'static>) -> Self {
        let content = Certificate::from_der(&der).ok();
        Self {
            content: content.map(|certificate| certificate.tbs_certificate),
            der,
        }
    }

    /// When it begins, if it is of the public key `bits`.
    fn begin_if_of(&self, bits: &[u8]) -> Option<u64> {
        let content = self.content.as_ref()?;
        let key = &content.subject_public_key_info.subject_public_key;
        (key.raw_bytes() == bits).then(|| content.validity.not_before.to_unix_duration().as_secs())
    }

    fn vouches_for(&self, other: &TbsCertificate) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.subject == other.issuer)
    }
}

/// The certificate of `public_key`, and all of `certificates` with that one
/// first, each followed by the one that vouches for it (RFC 7515 section 4.1.6),
/// and what belongs nowhere last. Of several for the same key the newest is
/// taken.
///
/// Not by way of a verifier of TLS, which takes no certificate of version 1 and
/// none with a critical extension that it does not know. Entra does.
pub(super) fn in_order(
    public_key: &[u8],
    certificates: Vec<CertificateDer<'static>>,
) -> Option<(TbsCertificate, Vec<CertificateDer<'static>>)> {
    let public_key = SubjectPublicKeyInfoOwned::from_der(public_key).ok()?;
    let bits = public_key.subject_public_key.raw_bytes();
    let mut left: Vec<_> = certificates.into_iter().map(One::new).collect();
    let (_, own) = left
        .iter()
        .enumerate()
        .filter_map(|(at, one)| Some((one.begin_if_of(bits)?, at)))
        .max()?;
    let first = left.remove(own);
    left.retain(|one| one.der != first.der);
    let own = first.content?;

    let mut ordered = vec![first.der];
    let mut last = own.clone();
    while let Some(at) = left.iter().position(|one| one.vouches_for(&last)) {
        let next = left.remove(at);
        ordered.push(next.der);
        match next.content {
            Some(content) => last = content,
            None => break,
        }
    }
    ordered.extend(left.into_iter().map(|one| one.der));
    Some((own, ordered))
}
