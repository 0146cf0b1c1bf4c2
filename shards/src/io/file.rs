//! Files for direct I/O, and what there is to know about paths.

use std::io::{ErrorKind, Result};

use super::buffer::{BLOCK, DmaBuffer};
use super::{glommio, sim};

/// How a file is opened. Always with direct I/O.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenMode {
    pub read: bool,
    pub write: bool,
    pub create: bool,
    /// Every write is durable when it completes (`O_DSYNC`).
    pub sync_on_write: bool,
}

impl OpenMode {
    pub const READ: OpenMode = OpenMode {
        read: true,
        write: false,
        create: false,
        sync_on_write: false,
    };

    pub const READ_WRITE: OpenMode = OpenMode {
        write: true,
        ..OpenMode::READ
    };

    /// Reads and writes a file that need not exist yet.
    pub const CREATE: OpenMode = OpenMode {
        create: true,
        ..OpenMode::READ_WRITE
    };
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    pub name: String,
    pub is_dir: bool,
    /// Of a file, in bytes.
    pub len: u64,
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FsSpace {
    pub total: u64,
    pub available: u64,
}

/// An open file. Positions and lengths of reads and writes are whole blocks of
/// [`BLOCK`] bytes, anything else is refused with `InvalidInput`.
pub enum File {
    Glommio(glommio::File),
    Sim(sim::File),
}

impl File {
    /// Writes the first `len` bytes of `buffer`, all of them or it is an error, and
    /// gives the buffer back. After an error, or if the future is dropped, any part
    /// of them may have been written.
    pub async fn write_at(
        &self,
        buffer: DmaBuffer,
        len: usize,
        position: u64,
    ) -> (Result<()>, DmaBuffer) {
        assert!(
            len <= buffer.len(),
            "{len} bytes of a buffer of {}",
            buffer.len()
        );
        if !is_aligned(position, len) {
            return (Err(ErrorKind::InvalidInput.into()), buffer);
        }
        if len == 0 {
            return (Ok(()), buffer);
        }
        match self {
            File::Glommio(file) => file.write_at(buffer, len, position).await,
            File::Sim(file) => {
                let result = file.write_at(&buffer[..len], position).await;
                (result, buffer)
            }
        }
    }

    /// Reads up to `len` bytes: less only if the file ends before.
    pub async fn read_at(&self, position: u64, len: usize) -> Result<DmaBuffer> {
        if !is_aligned(position, len) || len == 0 {
            return Err(ErrorKind::InvalidInput.into());
        }
        match self {
            File::Glommio(file) => file.read_at(position, len).await,
            File::Sim(file) => file.read_at(position, len).await,
        }
    }

    /// Makes durable all that was written before the call (`fdatasync`). A failure
    /// is final: see the module's notes on crashes.
    pub async fn sync(&self) -> Result<()> {
        match self {
            File::Glommio(file) => file.sync().await,
            File::Sim(file) => file.sync().await,
        }
    }

    /// Cuts the file, or extends it with zeros, to any length.
    pub async fn truncate(&self, len: u64) -> Result<()> {
        match self {
            File::Glommio(file) => file.truncate(len).await,
            File::Sim(file) => file.truncate(len).await,
        }
    }

    /// Makes sure that the first `len` bytes have room on the disk. The file's length
    /// stays as it is.
    pub async fn allocate(&self, len: u64) -> Result<()> {
        match self {
            File::Glommio(file) => file.allocate(len).await,
            File::Sim(file) => file.allocate(len).await,
        }
    }

    /// Closes the file, as dropping it does a little later.
    pub async fn close(self) -> Result<()> {
        match self {
            File::Glommio(file) => file.close().await,
            File::Sim(file) => file.close().await,
        }
    }
}

fn is_aligned(position: u64, len: usize) -> bool {
    position.is_multiple_of(BLOCK as u64) && len.is_multiple_of(BLOCK)
}
