//! Signatures of messages: who may speak to the kernel, and each message once.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// So many bytes are hashed before others get their turn.
const STEP: usize = 1 << 20;
/// So many messages are remembered at least.
const REMEMBERED: usize = 1 << 19;

/// Why a message is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It was not made with the kernel's key.
    #[error("its signature is wrong")]
    Signature,
    /// The same message came before.
    #[error("it was sent before")]
    Replayed,
}

/// Signs and checks the messages of one kernel.
pub struct Signer {
    /// None with an empty key: then nothing is signed and everything is heard, as the protocol has it.
    key: Option<Hmac<Sha256>>,
    seen: Mutex<Seen>,
}

/// Beginnings of signatures, in two generations.
#[derive(Default)]
struct Seen {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Seen {
    /// Notes a signature; `false` when it is known.
    fn note(&mut self, signature: u64) -> bool {
        if self.old.contains(&signature) || !self.young.insert(signature) {
            return false;
        }
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        true
    }
}

impl Signer {
    /// A signer with the key of the connection file.
    pub fn new(key: &str) -> Self {
        let key = (!key.is_empty())
            .then(|| Hmac::new_from_slice(key.as_bytes()).expect("HMAC takes keys of any length"));
        Signer {
            key,
            seen: Mutex::default(),
        }
    }

    /// The signature of a message's header, parent header, metadata and content, as it is sent.
    pub fn sign(&self, parts: &[Bytes]) -> Bytes {
        let Some(mut mac) = self.key.clone() else {
            return Bytes::new();
        };
        parts.iter().for_each(|part| mac.update(part));
        let digest = mac.finalize().into_bytes();
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        text.into()
    }

    /// Checks the signature of a message's first four parts, and that it has not come before.
    ///
    /// # Errors
    /// See [`Wrong`].
    pub async fn check(&self, signature: &[u8], parts: &[Bytes]) -> Result<(), Wrong> {
        let Some(mut mac) = self.key.clone() else {
            return Ok(());
        };
        let claimed = bytes_of(signature).ok_or(Wrong::Signature)?;
        for part in parts {
            for step in part.chunks(STEP) {
                mac.update(step);
                if step.len() == STEP {
                    tokio::task::yield_now().await;
                }
            }
        }
        mac.verify_slice(&claimed).map_err(|_| Wrong::Signature)?;
        let beginning = claimed.first_chunk().ok_or(Wrong::Signature)?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.note(u64::from_be_bytes(*beginning)) {
            true => Ok(()),
            false => Err(Wrong::Replayed),
        }
    }
}

/// The bytes that hexadecimal digits stand for.
fn bytes_of(digits: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8; 2]| Some((value(pair[0])? << 4 | value(pair[1])?) as u8);
    pairs.iter().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<Bytes> {
        ["{}", "{\"a\":1}", "", "x"].map(Bytes::from).to_vec()
    }

    #[tokio::test]
    async fn a_signed_message_is_heard_once() {
        let signer = Signer::new("key");
        let signature = signer.sign(&parts());
        assert_eq!(signature.len(), 64);
        assert_eq!(signer.check(&signature, &parts()).await, Ok(()));
        assert_eq!(
            signer.check(&signature, &parts()).await,
            Err(Wrong::Replayed)
        );
        // Hexadecimal digits have two forms.
        let upper = signature.to_ascii_uppercase();
        assert_eq!(signer.check(&upper, &parts()).await, Err(Wrong::Replayed));
    }

    #[tokio::test]
    async fn what_another_key_signed_is_not_heard() {
        let signer = Signer::new("key");
        for signature in [
            Signer::new("other").sign(&parts()),
            signer.sign(&parts()).slice(..62),
            signer.sign(&parts()[..3]),
            Bytes::from("xyz"),
            Bytes::new(),
        ] {
            assert_eq!(
                signer.check(&signature, &parts()).await,
                Err(Wrong::Signature)
            );
        }
    }

    #[tokio::test]
    async fn without_a_key_everything_is_heard() {
        let signer = Signer::new("");
        for _ in 0..2 {
            assert_eq!(signer.check(b"", &parts()).await, Ok(()));
        }
        assert!(signer.sign(&parts()).is_empty());
    }

    #[test]
    fn what_was_seen_is_remembered_for_long() {
        let mut seen = Seen::default();
        assert!((0..REMEMBERED as u64 + 9).all(|signature| seen.note(signature)));
        assert!((0..REMEMBERED as u64 + 9).all(|signature| !seen.note(signature)));
    }
}
