//! The blocks that a delta is packed in: a byte for the kind, two for the length, and so many bytes
//! of one zstd frame (1) or of what is told itself (2). A block of kind 0 has no more to it and
//! ends them. What is in the blocks makes sense only one after the other.

use zstd::bulk::Decompressor;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

use super::reader::Reader;
use super::refusal::Refusal;

/// Unpacks all blocks. Each is known not to be too long before it is unpacked.
pub(crate) fn unpack(from: &mut Reader<'_>) -> Result<Vec<u8>, Refusal> {
    let mut unpacked = Vec::new();
    let mut decompressor = None;
    for _ in 0..=BLOCKS_MAX {
        let kind = from.byte()?;
        if kind == END {
            return Ok(unpacked);
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
    Err(Refusal::Blocks)
}

/// Appends blocks with these bytes, not compressed, because they do not travel.
pub(crate) fn pack(bytes: &[u8], to: &mut Vec<u8>) {
    for block in bytes.chunks(u16::MAX.into()) {
        to.push(PLAIN);
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        to.extend(len.to_le_bytes());
        to.extend(block);
    }
    to.push(END);
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

/// The most blocks, which hold 8 MiB. Of buckets whose topics are as much alike as can be, half as
/// much fits into a message.
pub(crate) const BLOCKS_MAX: usize = 512;

const END: u8 = 0;
const FRAME: u8 = 1;
const PLAIN: u8 = 2;

const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();
