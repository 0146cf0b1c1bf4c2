//! Reading the groups of one journal file, of which anything may be damaged. Memory is bounded by the file's length,
//! whatever a group claims.

use std::path::{Path, PathBuf};

use super::RecoveryError;
use crate::io::{BLOCK, File, Io, OpenMode};
use crate::journal::group::{GroupError, GroupHeader, HEADER_LEN};

/// Bytes read at a time.
const WINDOW: u64 = 1 << 20;

/// A window over one file.
pub(super) struct Reader {
    file: File,
    path: PathBuf,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Reader {
    pub(super) async fn open(io: &Io, path: &Path, len: u64) -> Result<Self, RecoveryError> {
        let how = OpenMode {
            read: true,
            ..OpenMode::default()
        };
        let file = io
            .open(path, how)
            .await
            .map_err(|error| RecoveryError::Io(path.to_owned(), error))?;
        Ok(Self {
            file,
            path: path.to_owned(),
            len,
            window: Vec::new(),
            window_at: 0,
        })
    }

    pub(super) async fn close(self) -> Result<(), RecoveryError> {
        self.file
            .close()
            .await
            .map_err(|error| RecoveryError::Io(self.path, error))
    }

    /// Makes `len` bytes at `at` available, as far as the file has them.
    pub(super) async fn ensure(&mut self, at: u64, len: u64) -> Result<&[u8], RecoveryError> {
        let end = (at + len).min(self.len);
        let window_end = self.window_at + self.window.len() as u64;
        if at < self.window_at || end > window_end {
            let wanted = len.max(WINDOW).min(self.len - at) as usize;
            self.window.clear();
            self.window_at = at;
            while self.window.len() < wanted {
                let position = at + self.window.len() as u64;
                let chunk = (wanted - self.window.len()).min(WINDOW as usize);
                let read = self.file.read_at(position, chunk).await;
                let bytes = read.map_err(|error| RecoveryError::Io(self.path.clone(), error))?;
                if bytes.is_empty() {
                    break;
                }
                self.window.extend_from_slice(&bytes);
            }
        }
        let from = (at - self.window_at) as usize;
        let to = (from + (end - at) as usize).min(self.window.len());
        Ok(&self.window[from.min(to)..to])
    }

    /// The group at `position`, if header and entries are sound.
    pub(super) async fn group(
        &mut self,
        position: u64,
    ) -> Result<Result<(GroupHeader, u32), GroupError>, RecoveryError> {
        let bytes = self.ensure(position, BLOCK as u64).await?;
        let (header, crc) = match GroupHeader::decode(bytes) {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(error)),
        };
        if position + header.padded_len() > self.len {
            return Ok(Err(GroupError::Payload));
        }
        self.ensure(position, header.padded_len()).await?;
        let checked = header.check_payload(self.payload(position, &header));
        Ok(checked.map(|()| (header, crc)))
    }

    /// The entries of a group that [`Reader::group`] has just found sound.
    pub(super) fn payload(&self, position: u64, header: &GroupHeader) -> &[u8] {
        let from = (position - self.window_at) as usize + HEADER_LEN;
        let to = from + header.payload_len as usize;
        self.window.get(from..to).unwrap_or(&[])
    }

    /// Place and header of the file's first group, or of the first that can be read where the first
    /// block is damaged; `None` for a file that holds none of this journal.
    pub(super) async fn first_group(
        &mut self,
        id: u32,
    ) -> Result<Option<(u64, GroupHeader)>, RecoveryError> {
        let mut position = 0;
        while position + BLOCK as u64 <= self.len {
            let bytes = self.ensure(position, BLOCK as u64).await?;
            match GroupHeader::decode(bytes) {
                Ok((header, _)) if header.journal_id == id => return Ok(Some((position, header))),
                // A slot that was made and not used yet.
                Err(GroupError::NoGroup)
                    if position == 0 && bytes.iter().all(|byte| *byte == 0) =>
                {
                    return Ok(None);
                }
                _ => position += BLOCK as u64,
            }
        }
        Ok(None)
    }
}
