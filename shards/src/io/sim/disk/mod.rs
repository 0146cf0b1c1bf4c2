//! The disk of a simulated node: one file system, direct I/O only.
//!
//! This is its state; `operations` are what a shard does with it, each of which
//! takes time. What survives a crash is decided in `content` (of files) and `names`
//! (of directories).

mod content;
mod names;
mod operations;

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use crate::io::random::Random;
use crate::io::time::Instant;
use crate::io::{DirEntry, FsSpace, OpenMode, align_up};

use super::coverage::Coverage;
use super::faults::Crash;
use content::{Content, Mood};
use names::{Directories, InodeId, ROOT};

pub use operations::File;

/// What a fault can be ordered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Read,
    /// Any part of it may be done when it fails.
    Write,
    /// Nothing of it is done when it fails.
    WholeWrite,
    /// Of a file.
    Sync,
    SyncDir,
}

pub(super) struct Disk {
    directories: Directories,
    files: BTreeMap<InodeId, Inode>,
    inodes_made: u64,
    capacity: u64,
    /// Operations that shall fail, with a part of the path of what they work on.
    ordered_failures: Vec<(Operation, String)>,
    /// Parts of files that cannot be read until then.
    unreadable: Vec<(InodeId, Range<u64>, Instant)>,
    /// There is no room until then.
    full_until: Instant,
    /// The world's clock, as of the operation that is under way.
    now: Instant,
}

struct Inode {
    content: Content,
    /// The path it was last opened or made under.
    path: String,
    /// From the start to here the file has room on the disk.
    allocated: u64,
    is_linked: bool,
    handles: u32,
}

fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}

pub(super) fn input_output_error() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

/// The names that a path consists of. There is one root, and every path begins there.
fn names_of(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(ErrorKind::InvalidInput)?);
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}

impl Disk {
    pub(super) fn new() -> Disk {
        Disk {
            directories: Directories::new(),
            files: BTreeMap::new(),
            inodes_made: ROOT,
            capacity: u64::MAX,
            ordered_failures: Vec::new(),
            unreadable: Vec::new(),
            full_until: Instant::default(),
            now: Instant::default(),
        }
    }

    pub(super) fn set_capacity(&mut self, bytes: u64) {
        self.capacity = bytes;
    }

    pub(super) fn order_failure(&mut self, operation: Operation, path_part: &str) {
        self.ordered_failures
            .push((operation, path_part.to_owned()));
    }

    /// An operation begins at that moment.
    pub(super) fn at(&mut self, now: Instant) {
        self.now = now;
        self.unreadable.retain(|(.., until)| *until > now);
    }

    /// All files that have a name, by their paths.
    pub(super) fn all_files(&self) -> Vec<(PathBuf, u64)> {
        let mut found = Vec::new();
        let mut open = vec![(PathBuf::from("/"), ROOT)];
        while let Some((path, directory)) = open.pop() {
            for (name, inode) in self.directories.list(directory).into_iter().flatten() {
                let path = path.join(name);
                match self.files.get(inode) {
                    Some(file) => found.push((path, file.content.len())),
                    None => open.push((path, *inode)),
                }
            }
        }
        found.sort();
        found
    }

    fn make_unreadable(&mut self, inode: InodeId, bytes: Range<u64>, until: Instant) {
        self.unreadable.push((inode, bytes, until));
    }

    fn is_unreadable(&self, inode: InodeId, bytes: &Range<u64>) -> bool {
        self.unreadable.iter().any(|(of, bad, until)| {
            *of == inode && *until > self.now && bad.start < bytes.end && bytes.start < bad.end
        })
    }

    fn fill_up(&mut self, until: Instant) {
        self.full_until = until;
    }

    pub(super) fn failures_left(&self) -> usize {
        self.ordered_failures.len()
    }

    fn takes_ordered_failure(&mut self, operation: Operation, path: &str) -> bool {
        let found = self
            .ordered_failures
            .iter()
            .position(|(ordered, part)| *ordered == operation && path.contains(part));
        match found {
            Some(index) => {
                self.ordered_failures.remove(index);
                true
            }
            None => false,
        }
    }

    pub(super) fn rot(&mut self, path: &Path, position: u64, bit: u32) -> io::Result<()> {
        let inode = self.resolve(path)?;
        let file = self.files.get_mut(&inode).ok_or(ErrorKind::IsADirectory)?;
        if position >= file.content.len() {
            return Err(ErrorKind::InvalidInput.into());
        }
        file.content.rot(position, bit);
        Ok(())
    }

    pub(super) fn crash(&mut self, crash: Crash, random: &mut Random, counts: &mut Coverage) {
        match crash {
            Crash::Kill => {
                for file in self.files.values_mut() {
                    file.content.kill(random, counts);
                }
            }
            Crash::PowerLoss => {
                let mood = Mood::draw(random);
                self.directories.lose_power(mood, random, counts);
                for file in self.files.values_mut() {
                    file.content.lose_power(mood, random, counts);
                    file.allocated = align_up(file.content.len());
                }
            }
        }
        for file in self.files.values_mut() {
            file.handles = 0;
        }
        self.ordered_failures.clear();
        self.forget_unreachable();
    }

    /// Frees files that have no name, now or after a power loss, and no user.
    fn forget_unreachable(&mut self) {
        let reachable = self.directories.reachable();
        self.files
            .retain(|inode, file| file.handles > 0 || reachable.contains(inode));
        let linked = self.directories.linked();
        for (inode, file) in &mut self.files {
            file.is_linked = linked.contains(inode);
        }
    }

    pub(super) fn used(&self) -> u64 {
        let counted = self.files.values().filter(|f| f.is_linked || f.handles > 0);
        counted.map(|file| file.allocated).sum()
    }

    pub(super) fn handles(&self) -> usize {
        self.files.values().map(|file| file.handles as usize).sum()
    }

    pub(super) fn open_nameless(&self) -> Vec<String> {
        let open = self.files.values().filter(|file| file.handles > 0);
        let nameless = open.filter(|file| !file.is_linked);
        nameless.map(|file| file.path.clone()).collect()
    }

    pub(super) fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let inode = self.resolve(path)?;
        let file = self.files.get(&inode).ok_or(ErrorKind::IsADirectory)?;
        let mut bytes = vec![0; file.content.len() as usize];
        let read = file.content.read(0, &mut bytes);
        bytes.truncate(read);
        Ok(bytes)
    }

    fn space(&self) -> FsSpace {
        FsSpace {
            total: self.capacity,
            available: match self.now < self.full_until {
                true => 0,
                false => self.capacity.saturating_sub(self.used()),
            },
        }
    }

    fn resolve(&self, path: &Path) -> io::Result<InodeId> {
        let mut inode = ROOT;
        for name in names_of(path)? {
            if !self.directories.is_directory(inode) {
                return Err(ErrorKind::NotADirectory.into());
            }
            inode = self
                .directories
                .find(inode, name)
                .ok_or(ErrorKind::NotFound)?;
        }
        Ok(inode)
    }

    fn resolve_directory(&self, path: &Path) -> io::Result<InodeId> {
        let inode = self.resolve(path)?;
        if !self.directories.is_directory(inode) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(inode)
    }

    /// The directory in which the last name of a path is or would be, and that name.
    fn resolve_parent<'a>(&self, path: &'a Path) -> io::Result<(InodeId, &'a str)> {
        let name = names_of(path)?.pop().ok_or(ErrorKind::InvalidInput)?;
        let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
        Ok((self.resolve_directory(parent)?, name))
    }

    fn next_inode(&mut self) -> InodeId {
        self.inodes_made += 1;
        self.inodes_made
    }

    fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<InodeId> {
        let changes_without_writing = !mode.write && mode.create;
        if changes_without_writing || !(mode.read || mode.write) {
            return Err(ErrorKind::InvalidInput.into());
        }
        let (parent, name) = self.resolve_parent(path)?;
        let inode = match self.directories.find(parent, name) {
            Some(inode) if self.directories.is_directory(inode) => {
                return Err(ErrorKind::IsADirectory.into());
            }
            Some(inode) => inode,
            None if mode.create => self.create(parent, name),
            None => return Err(ErrorKind::NotFound.into()),
        };
        let file = self.file(inode);
        file.handles += 1;
        file.path = path.to_string_lossy().into_owned();
        Ok(inode)
    }

    fn create(&mut self, parent: InodeId, name: &str) -> InodeId {
        let inode = self.next_inode();
        self.directories.link(parent, name, inode, false);
        let file = Inode {
            content: Content::default(),
            path: String::new(),
            allocated: 0,
            is_linked: true,
            handles: 0,
        };
        self.files.insert(inode, file);
        inode
    }

    fn close(&mut self, inode: InodeId) {
        let file = self.file(inode);
        file.handles -= 1;
        if file.handles == 0 && !file.is_linked {
            self.forget_unreachable();
        }
    }

    fn file(&mut self, inode: InodeId) -> &mut Inode {
        self.files.get_mut(&inode).expect("an open file exists")
    }

    /// Gives room to a file up to `end`, if there is as much.
    fn allocate(&mut self, inode: InodeId, end: u64) -> io::Result<()> {
        let end = align_up(end);
        let available = self.space().available;
        let file = self.file(inode);
        if end.saturating_sub(file.allocated) > available {
            return Err(no_space());
        }
        file.allocated = file.allocated.max(end);
        Ok(())
    }

    fn truncate(&mut self, inode: InodeId, len: u64) {
        let file = self.file(inode);
        file.content.truncate(len);
        file.allocated = file.allocated.min(align_up(len));
    }

    fn create_directory(&mut self, path: &Path) -> io::Result<()> {
        let mut parent = ROOT;
        for name in names_of(path)? {
            parent = match self.directories.find(parent, name) {
                Some(inode) if self.directories.is_directory(inode) => inode,
                Some(_) => return Err(ErrorKind::AlreadyExists.into()),
                None => {
                    let inode = self.next_inode();
                    self.directories.link(parent, name, inode, true);
                    inode
                }
            };
        }
        Ok(())
    }

    fn remove_directory(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.resolve_directory(path)?;
        let is_empty = self.directories.list(inode).is_some_and(BTreeMap::is_empty);
        if !is_empty {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        let (parent, name) = self.resolve_parent(path)?;
        self.directories.unlink(parent, name);
        Ok(())
    }

    fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (parent, name) = self.resolve_parent(path)?;
        let inode = self.resolve(path)?;
        if self.directories.is_directory(inode) {
            return Err(ErrorKind::IsADirectory.into());
        }
        self.directories.unlink(parent, name);
        self.file(inode).is_linked = false;
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let source = self.resolve(from)?;
        let (from_parent, from_name) = self.resolve_parent(from)?;
        let (to_parent, to_name) = self.resolve_parent(to)?;
        if let Some(target) = self.directories.find(to_parent, to_name) {
            if target == source {
                return Ok(());
            }
            match (
                self.directories.is_directory(source),
                self.directories.list(target),
            ) {
                (false, None) => self.file(target).is_linked = false,
                (true, Some(names)) if names.is_empty() => {}
                (true, Some(_)) => return Err(ErrorKind::DirectoryNotEmpty.into()),
                (true, None) => return Err(ErrorKind::NotADirectory.into()),
                (false, Some(_)) => return Err(ErrorKind::IsADirectory.into()),
            }
        }
        self.directories
            .rename((from_parent, from_name), (to_parent, to_name));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let directory = self.resolve_directory(path)?;
        let names = self
            .directories
            .list(directory)
            .ok_or(ErrorKind::NotADirectory)?;
        let entries = names.iter().map(|(name, inode)| DirEntry {
            name: name.clone(),
            is_dir: self.directories.is_directory(*inode),
            len: self.files.get(inode).map_or(0, |file| file.content.len()),
        });
        Ok(entries.collect())
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        let inode = self.resolve(path)?;
        Ok(self.files.get(&inode).map_or(0, |file| file.content.len()))
    }
}

#[cfg(test)]
mod tests;
