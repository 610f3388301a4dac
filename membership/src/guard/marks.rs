use chitchat::ChitchatId;

use super::letter::{ACK, HEAD, SYN, SYN_ACK};
use super::pulse::Beat;
use super::reader::Reader;
use super::refusal::Refusal;

/// Writes into the digest of a message, if it has one, the beat and the version that each run is to be
/// known by.
pub(crate) fn put(
    bytes: &mut [u8],
    mut of: impl FnMut(&ChitchatId, u64) -> (Beat, u64),
) -> Result<(), Refusal> {
    let len = bytes.len();
    let mut at = {
        let from = &mut Reader::new(bytes);
        from.bytes(HEAD.len())?;
        match from.byte()? {
            SYN | SYN_ACK => len - from.left(),
            ACK => return Ok(()),
            kind => {
                let what = "message";
                return Err(Refusal::Kind { what, kind });
            }
        }
    };
    let entries = Reader::new(&bytes[at..]).u16()?;
    at += size_of::<u16>();
    for _ in 0..entries {
        let from = &mut Reader::new(&bytes[at..]);
        let node = from.node()?;
        let numbers = len - from.left();
        let (_, _, version) = (from.u64()?, from.u64()?, from.u64()?);
        at = len - from.left();
        let (beat, version) = of(&node, version);
        let marks = [beat.count, beat.token, version].map(u64::to_le_bytes);
        bytes[numbers..at].copy_from_slice(&marks.concat());
    }
    Ok(())
}
