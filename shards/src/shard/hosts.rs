//! Which folders a folder's newest records are in.
//!
//! Folders of one device share a journal, and that is in one of them. The others say so, in a small file that names the
//! folders on whose journals they depend, durably before anything is written there. At a start without one of those,
//! what a folder holds by itself is not all that was acknowledged, so it is offline as well.
//!
//! While journals change their places, because the list of folders did, both names are there.
//!
//! What journals know of a folder that is offline stays in them, or goes from one in a folder that has no journals of
//! its own any more to the one that this folder names. So it is found through the names that the offline folder has, and
//! those that the folders have that it names. None of these is taken back while journals know of such a folder.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::rc::Rc;

use uuid::Uuid;

use super::recovery::StartError;
use super::volume::{Folder, FolderConfig, Folders};
use crate::io::Io;

/// Ids of folders, a line each.
const HOSTS_FILE: &str = ".journal_folders";

/// Of each folder in the order of the configuration: those that its records may be in, beside itself.
pub(super) type Hosts = Vec<BTreeSet<Uuid>>;

/// Reads what the folders say, and takes those offline that cannot do without one that is not there.
pub(super) async fn look_for_hosts(
    io: &Io,
    configs: &mut [FolderConfig],
) -> Result<Hosts, StartError> {
    let mut hosts = Hosts::new();
    for config in &*configs {
        let read = match config.is_offline {
            true => Ok(BTreeSet::new()),
            false => read_hosts(io, &config.path).await,
        };
        hosts.push(read.map_err(|error| StartError::Io(config.path.clone(), error))?);
    }
    // One that is left out may be what others cannot do without.
    while leave_out_dependent(configs, &hosts) {}
    Ok(hosts)
}

/// Takes folders offline that cannot do without one that is. Whether there were any.
fn leave_out_dependent(configs: &mut [FolderConfig], hosts: &Hosts) -> bool {
    let online = configs.iter().filter(|config| !config.is_offline);
    let online: BTreeSet<Uuid> = online.map(|config| config.id).collect();
    let mut were_any = false;
    for (config, hosts) in configs.iter_mut().zip(hosts) {
        if let Some(missing) = hosts.difference(&online).next()
            && !config.is_offline
        {
            tracing::error!(
                folder = %config.path.display(),
                missing = %missing,
                "the folder is offline: its newest records may be in the journal of another one, which is not there"
            );
            config.is_offline = true;
            were_any = true;
        }
    }
    were_any
}

/// Has each folder name the one that has its journal now, beside those that it named before.
pub(super) async fn add_hosts(io: &Io, folders: &Folders, known: &Hosts) -> io::Result<()> {
    for (folder, known) in folders.configured().iter().zip(known) {
        let mut all = known.clone();
        all.extend(host_of(folders, folder));
        if all != *known {
            write_hosts(io, folder, &all).await?;
        }
    }
    Ok(())
}

/// Has each folder name the one that has its journal and no other: what was elsewhere has been taken over.
pub(super) async fn keep_hosts(io: &Io, folders: &Folders, known: &Hosts) -> io::Result<()> {
    for (folder, known) in folders.configured().iter().zip(known) {
        let host: BTreeSet<Uuid> = host_of(folders, folder).into_iter().collect();
        if !known.is_subset(&host) && !folder.is_offline.get() {
            write_hosts(io, folder, &host).await?;
        }
    }
    Ok(())
}

/// The other folder that has this one's journal, if there is one.
fn host_of(folders: &Folders, folder: &Rc<Folder>) -> Option<Uuid> {
    let host = &folders.hosts()[folder.volume];
    (!folder.is_offline.get() && host.id != folder.id).then_some(host.id)
}

async fn read_hosts(io: &Io, folder: &Path) -> io::Result<BTreeSet<Uuid>> {
    let bytes = match io.read_small(&folder.join(HOSTS_FILE)).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        read => read?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let ids: Result<_, uuid::Error> = text.lines().map(Uuid::parse_str).collect();
    ids.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

async fn write_hosts(io: &Io, folder: &Folder, hosts: &BTreeSet<Uuid>) -> io::Result<()> {
    let lines = hosts.iter().map(|id| format!("{id}\n"));
    let text: String = lines.collect();
    io.write_small(&folder.path.join(HOSTS_FILE), text.as_bytes())
        .await
}

#[cfg(test)]
mod tests;
