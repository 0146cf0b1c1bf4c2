//! What can be told of data folders without taking them.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use uuid::Uuid;

use super::meta::Meta;
use super::{FolderError, LOCK, WHOLE_FILE, check_together, has_data};

/// Whether a process has taken a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum InUse {
    No,
    Yes,
    /// This user may not look.
    Unknown,
}

/// A folder that is there.
pub(in crate::cli) struct Looked {
    pub(in crate::cli) path: PathBuf,
    /// Number of the device that it is on.
    pub(in crate::cli) device: u64,
    pub(in crate::cli) in_use: InUse,
    /// Whether nobody has used it.
    pub(in crate::cli) is_new: bool,
    meta: Option<Meta>,
}

impl Looked {
    /// Kafka's `directory.id`, if it has one yet.
    pub(in crate::cli) fn id(&self) -> Option<Uuid> {
        self.meta.as_ref()?.directory_id
    }
}

/// `None` if it is not there. An error for one that no start would use.
pub(in crate::cli) fn look(path: &Path) -> Result<Option<Looked>, FolderError> {
    let at = |source| FolderError::Io {
        path: path.to_owned(),
        source,
    };
    let device = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(at)?.dev(),
    };
    let meta = Meta::read(path)?;
    if meta.is_none() && has_data(path).map_err(at)? {
        return Err(FolderError::NoMeta(path.to_owned()));
    }
    Ok(Some(Looked {
        path: path.to_owned(),
        device,
        in_use: in_use(path),
        is_new: meta.is_none(),
        meta,
    }))
}

/// What must hold of them together, and of their node; those that are not there tell nothing.
pub(in crate::cli) fn check(
    paths: &[PathBuf],
    all: &[Option<Looked>],
    metadata: usize,
    node_id: i32,
) -> Result<(), FolderError> {
    let metas = all.iter().map(|it| it.as_ref().map(|it| it.meta.as_ref()));
    let metas: Vec<Option<Option<&Meta>>> = metas.collect();
    check_together(paths, &metas, metadata)?;
    let mut identified = paths.iter().zip(metas.iter().map(|it| it.flatten()));
    let known = || metas.iter().flatten().flatten();
    let Some(first) = known().next() else {
        return Ok(());
    };
    identified.try_for_each(|(path, meta)| match meta {
        Some(meta) => meta.check(path, node_id, &first.cluster_id),
        None => Ok(()),
    })
}

/// The file that whoever uses a folder has locked.
pub(in crate::cli) fn lock_file(folder: &Path) -> PathBuf {
    folder.join(LOCK)
}

/// Whether somebody holds its lock. Asked, not tried: a broker may be about to start.
pub(in crate::cli) fn in_use(folder: &Path) -> InUse {
    let file = match File::open(lock_file(folder)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return InUse::Unknown,
        Err(_) => return InUse::No,
    };
    let mut lock = WHOLE_FILE;
    match fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock)) {
        Ok(_) if lock.l_type == libc::F_UNLCK as libc::c_short => InUse::No,
        Ok(_) => InUse::Yes,
        Err(_) => InUse::Unknown,
    }
}
