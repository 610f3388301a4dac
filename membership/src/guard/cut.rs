use super::blocks::{self, BLOCKS_MAX};
use super::letter::{ACK, HEAD, NODE, SYN_ACK, VALUE, VERSION, read_digest};
use super::reader::Reader;
use super::refusal::Refusal;

/// Cuts off what is too much of a message of this node's own chitchat, which bounds its length but
/// not what it unpacks to, when a member tells what packs very well.
///
/// Its receiver learns what comes before the cut, says so in its next digest and is told the rest.
pub(crate) fn cut(bytes: Vec<u8>) -> Vec<u8> {
    if bytes.len() < BLOCKS_MAX * BLOCK_BYTES_MIN {
        return bytes;
    }
    match shorter(&bytes) {
        Ok(Some(shorter)) => shorter,
        // What cannot be read would not be read by others either.
        Ok(None) | Err(_) => bytes,
    }
}

/// The message cut off. None if it need not be.
fn shorter(bytes: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let from = &mut Reader::new(bytes);
    from.bytes(HEAD.len())?;
    match from.byte()? {
        SYN_ACK => drop(read_digest(from)?),
        ACK => {}
        _ => return Ok(None),
    }
    let mut message = bytes[..bytes.len() - from.left()].to_vec();
    if !blocks::are_too_many(from.clone())? {
        return Ok(None);
    }
    let (delta, _) = blocks::unpack_some(from)?;
    blocks::pack(whole_entries(&delta), &mut message);
    Ok(Some(message))
}

/// The delta without the part of an entry at its end.
fn whole_entries(delta: &[u8]) -> &[u8] {
    let from = &mut Reader::new(delta);
    let mut end = 0;
    while skip_entry(from).is_ok() {
        end = delta.len() - from.left();
    }
    &delta[..end]
}

fn skip_entry(from: &mut Reader<'_>) -> Result<(), Refusal> {
    match from.byte()? {
        NODE => {
            from.node()?;
            from.u64()?;
            from.u64()?;
        }
        VALUE => {
            from.text()?;
            from.text()?;
            from.u64()?;
            from.byte()?;
        }
        VERSION => {
            from.u64()?;
        }
        kind => {
            let what = "entry";
            return Err(Refusal::Kind { what, kind });
        }
    }
    Ok(())
}

/// No block is as short: its kind, its length, and a frame's head and checks.
const BLOCK_BYTES_MIN: usize = 12;
