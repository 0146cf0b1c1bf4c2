//! The simulated world: everything in one thread, decided by one seed.

pub(super) mod lane;

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::buffer::{DmaBuffer, Memory};
use super::time::Instant;
use super::{DirEntry, FsSpace, OpenMode};

/// One shard of a node of a world. Worlds cannot be made yet.
pub enum Shard {}

pub enum File {}
pub enum Listener {}
pub enum ReadHalf {}
pub enum WriteHalf {}

impl Shard {
    pub(super) fn now(&self) -> Instant {
        match *self {}
    }

    pub(super) fn wall_ms(&self) -> i64 {
        match *self {}
    }

    pub(super) fn random_u64(&self) -> u64 {
        match *self {}
    }

    pub(super) fn slice_is_over(&self) -> bool {
        match *self {}
    }

    pub(super) async fn sleep(&self, _duration: Duration) {
        match *self {}
    }

    pub(super) async fn yield_now(&self) {
        match *self {}
    }

    pub(super) fn spawn(&self, _future: impl Future<Output = ()> + 'static) {
        match *self {}
    }

    pub(super) fn buffer(&self, _len: usize) -> Memory {
        match *self {}
    }

    pub(super) async fn open(&self, _path: &Path, _mode: OpenMode) -> io::Result<File> {
        match *self {}
    }

    pub(super) async fn create_dir_all(&self, _path: &Path) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn remove_dir(&self, _path: &Path) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn remove_file(&self, _path: &Path) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn list_dir(&self, _path: &Path) -> io::Result<Vec<DirEntry>> {
        match *self {}
    }

    pub(super) async fn file_len(&self, _path: &Path) -> io::Result<u64> {
        match *self {}
    }

    pub(super) async fn read_small(&self, _path: &Path) -> io::Result<Vec<u8>> {
        match *self {}
    }

    pub(super) async fn write_small(&self, _path: &Path, _bytes: &[u8]) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn free_space(&self, _path: &Path) -> io::Result<FsSpace> {
        match *self {}
    }

    pub(super) fn listen(&self, _address: SocketAddr) -> io::Result<Listener> {
        match *self {}
    }

    pub(super) async fn connect(
        self: &Rc<Self>,
        _address: SocketAddr,
    ) -> io::Result<(ReadHalf, WriteHalf)> {
        match **self {}
    }

    pub(super) async fn accept(
        self: &Rc<Self>,
        _listener: &Listener,
    ) -> io::Result<(ReadHalf, WriteHalf, SocketAddr)> {
        match **self {}
    }
}

impl File {
    pub(super) async fn write_at(&self, _bytes: &[u8], _position: u64) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn read_at(&self, _position: u64, _len: usize) -> io::Result<DmaBuffer> {
        match *self {}
    }

    pub(super) async fn sync(&self) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn truncate(&self, _len: u64) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn allocate(&self, _len: u64) -> io::Result<()> {
        match *self {}
    }

    pub(super) async fn close(self) -> io::Result<()> {
        match self {}
    }
}

impl Listener {
    pub(super) fn local_addr(&self) -> SocketAddr {
        match *self {}
    }
}

impl ReadHalf {
    pub(super) async fn read(&mut self, _buffer: &mut BytesMut) -> io::Result<usize> {
        match *self {}
    }

    pub(super) fn set_low_water(&mut self, _bytes: usize) -> io::Result<()> {
        match *self {}
    }
}

impl WriteHalf {
    pub(super) async fn write(&mut self, _slices: &mut VecDeque<Bytes>) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn try_write(&mut self, _slices: &mut VecDeque<Bytes>) -> io::Result<bool> {
        match *self {}
    }

    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        match *self {}
    }
}
