//! The blocks that a delta is packed in: a byte for the kind, two for the length, and so many bytes
//! of one zstd frame (1) or of what is told itself (2). A block of kind 0 has no more to it and
//! ends them. What is in the blocks makes sense only one after the other.

use zstd::bulk::Decompressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::reader::Reader;
use super::refusal::Refusal;

/// Unpacks all blocks.
pub(crate) fn unpack(from: &mut Reader<'_>) -> Result<Vec<u8>, Refusal> {
    let (unpacked, is_all) = unpack_some(from)?;
    is_all.then_some(unpacked).ok_or(Refusal::Blocks)
}

/// Unpacks as many blocks as a message may have, and tells whether these are all. Each is known not
/// to be too long before it is unpacked.
pub(crate) fn unpack_some(from: &mut Reader<'_>) -> Result<(Vec<u8>, bool), Refusal> {
    let mut unpacked = Vec::new();
    let mut decompressor = None;
    for count in 0.. {
        let kind = from.byte()?;
        if kind == END {
            return Ok((unpacked, true));
        }
        if count == BLOCKS_MAX {
            break;
        }
        let len = from.u16()?;
        let block = from.bytes(len.into())?;
        let before = unpacked.len();
        match kind {
            PLAIN => {
                bounded(len.into())?;
                unpacked.extend_from_slice(block);
            }
            FRAME => {
                let len = bounded(content_bytes(block)?)?;
                let decompressor = match &mut decompressor {
                    Some(ready) => ready,
                    none => none.insert(Decompressor::new().map_err(Refusal::Unpack)?),
                };
                unpacked.resize(before + len, 0);
                let written = decompressor
                    .decompress_to_buffer(block, &mut unpacked[before..])
                    .map_err(Refusal::Unpack)?;
                unpacked.truncate(before + written);
            }
            kind => {
                let what = "block";
                return Err(Refusal::Kind { what, kind });
            }
        }
        if unpacked.len() == before {
            return Err(Refusal::Block);
        }
    }
    Ok((unpacked, false))
}

/// Whether there are more blocks than a message may have.
pub(crate) fn are_too_many(mut from: Reader<'_>) -> Result<bool, Refusal> {
    for _ in 0..BLOCKS_MAX {
        if from.byte()? == END {
            return Ok(false);
        }
        let len = from.u16()?;
        from.bytes(len.into())?;
    }
    Ok(from.byte()? != END)
}

/// Appends blocks with these bytes, as chitchat packs them.
pub(crate) fn pack(bytes: &[u8], to: &mut Vec<u8>) {
    for block in bytes.chunks(BLOCK_BYTES_MAX) {
        match zstd::bulk::compress(block, 0) {
            Ok(frame) if frame.len() < block.len() => append(FRAME, &frame, to),
            _ => append(PLAIN, block, to),
        }
    }
    to.push(END);
}

/// Appends blocks with these bytes, not compressed, because they do not travel.
pub(crate) fn pack_plain(bytes: &[u8], to: &mut Vec<u8>) {
    for block in bytes.chunks(u16::MAX.into()) {
        append(PLAIN, block, to);
    }
    to.push(END);
}

fn append(kind: u8, block: &[u8], to: &mut Vec<u8>) {
    let len = u16::try_from(block.len()).expect("no block is longer");
    to.push(kind);
    to.extend(len.to_le_bytes());
    to.extend(block);
}

/// How long a block says that it is unpacked. It is one frame of today's zstd and nothing else:
/// older formats have decoders of their own.
fn content_bytes(block: &[u8]) -> Result<u64, Refusal> {
    let whole =
        block.starts_with(&ZSTD_MAGIC) && find_frame_compressed_size(block) == Ok(block.len());
    match get_frame_content_size(block) {
        Ok(Some(bytes)) if whole => Ok(bytes),
        _ => Err(Refusal::Block),
    }
}

fn bounded(bytes: u64) -> Result<usize, Refusal> {
    let len = usize::try_from(bytes).ok();
    len.filter(|&len| len <= BLOCK_BYTES_MAX)
        .ok_or(Refusal::BlockTooLong(bytes))
}

/// What chitchat fills a block to, all but the last.
pub(crate) const BLOCK_BYTES_MAX: usize = 16_384;

/// The most blocks, which hold 2 MiB. Of buckets whose topics are as much alike as can be, no more
/// fit into a message; what is more alike still is cut off by who sends it.
pub(crate) const BLOCKS_MAX: usize = 128;

pub(super) const END: u8 = 0;
const FRAME: u8 = 1;
const PLAIN: u8 = 2;

const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
