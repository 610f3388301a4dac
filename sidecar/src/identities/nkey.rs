use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use data_encoding::BASE32_NOPAD;
use ring::signature::{ED25519, UnparsedPublicKey};

/// The public key of a user, as NATS writes it: a letter for its kind, an Ed25519 key and a checksum, in base 32.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct UserKey([u8; 32]);

/// A text is not the public key of a user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not the public key of a user: 56 letters and digits that begin with U")]
pub struct UserKeyError;

impl UserKey {
    pub(super) fn parse(text: &str) -> Result<Self, UserKeyError> {
        let bytes = BASE32_NOPAD.decode(text.as_bytes());
        let bytes: [u8; 35] = bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(UserKeyError)?;
        let (body, sum) = bytes.split_at(33);
        if body[0] != USER || crc16(body).to_le_bytes() != sum {
            return Err(UserKeyError);
        }
        let mut key = [0; 32];
        key.copy_from_slice(&body[1..]);
        Ok(Self(key))
    }

    /// Whether who has the key has signed this. The signature is in base 64, of either kind.
    pub(super) fn has_signed(&self, text: &str, signature: &str) -> bool {
        let decoded = URL_SAFE_NO_PAD.decode(signature);
        let Ok(signature) = decoded.or_else(|_| STANDARD.decode(signature)) else {
            return false;
        };
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(text.as_bytes(), &signature).is_ok()
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserKey")
    }
}

/// The checksum of XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| {
            let carried = sum & 0x8000 != 0;
            sum << 1 ^ if carried { 0x1021 } else { 0 }
        })
    })
}

/// What makes the first letter a U.
const USER: u8 = 20 << 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the test data of NATS.
    const KEY: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

    #[test]
    fn a_key_is_read_as_nats_writes_it() {
        assert!(UserKey::parse(KEY).is_ok());
        let mistaken = KEY.replace("CNF4", "CNF5");
        let account = nkeys::KeyPair::new_account().public_key();
        for wrong in ["", "U", "u123", &KEY[..55], &mistaken, &account] {
            assert_eq!(UserKey::parse(wrong), Err(UserKeyError), "{wrong}");
        }
    }

    #[test]
    fn only_who_has_the_key_signs_with_it() {
        let pair = nkeys::KeyPair::new_user();
        let key = UserKey::parse(&pair.public_key()).unwrap();
        let signature = pair.sign(b"nonce").unwrap();
        for written in [
            URL_SAFE_NO_PAD.encode(&signature),
            STANDARD.encode(&signature),
        ] {
            assert!(key.has_signed("nonce", &written));
            assert!(!key.has_signed("another", &written));
        }
        let other = nkeys::KeyPair::new_user().sign(b"nonce").unwrap();
        assert!(!key.has_signed("nonce", &URL_SAFE_NO_PAD.encode(other)));
        assert!(!key.has_signed("nonce", "") && !key.has_signed("nonce", "?"));
    }
}
