//! A small ext4 of its own, on a loop device, for as long as the handle lives.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::turn::NotHere;

pub struct SmallDisk {
    image: PathBuf,
    mounted: PathBuf,
    /// Holds the image and the folder on which it is mounted.
    _home: TempDir,
}

impl SmallDisk {
    pub fn new(mib: u64) -> Result<SmallDisk, NotHere> {
        if !nix::unistd::geteuid().is_root() {
            return Err(NotHere("only root may mount a file system".to_owned()));
        }
        let home = tempfile::Builder::new()
            .prefix("disk-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .expect("a temporary folder");
        let image = home.path().join("image");
        let mounted = home.path().join("mounted");
        fs::create_dir(&mounted).expect("a folder");
        let file = File::create(&image).expect("the image");
        file.set_len(mib << 20).expect("a sparse image");
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image))?;
        let disk = SmallDisk {
            image,
            mounted,
            _home: home,
        };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), NotHere> {
        run(Command::new("mount")
            .args(["-t", "ext4", "-o", "loop"])
            .args([&self.image, &self.mounted]))
    }

    /// From now on every access to its files fails, as on a device that has died.
    pub fn fail(&self) -> Result<(), NotHere> {
        // EXT4_IOC_SHUTDOWN, without writing anything any more.
        let shut_down = "import fcntl, os, struct, sys\n\
             fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";
        run(Command::new("python3")
            .args(["-c", shut_down])
            .arg(&self.mounted))
    }

    /// Nobody has a file of it open for writing.
    pub fn make_read_only(&self) -> Result<(), NotHere> {
        run(Command::new("mount")
            .args(["-o", "remount,ro"])
            .arg(&self.mounted))
    }

    /// The device lives again, with what was synced. Nobody has a file of it open.
    pub fn heal(&self) -> Result<(), NotHere> {
        run(Command::new("umount").arg(&self.mounted))?;
        self.mount()
    }

    pub fn path(&self) -> &Path {
        &self.mounted
    }

    pub fn free_bytes(&self) -> u64 {
        let stat = nix::sys::statvfs::statvfs(&self.mounted).expect("the file system's counts");
        stat.blocks_available() * stat.fragment_size()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The loop device goes with the mount. Were a file still open, the mount would at least go from sight.
        let unmounted = run(Command::new("umount").arg(&self.mounted))
            .or_else(|_| run(Command::new("umount").arg("--lazy").arg(&self.mounted)));
        if let Err(NotHere(reason)) = unmounted {
            println!("{} stays mounted: {reason}", self.mounted.display());
        }
    }
}

fn run(command: &mut Command) -> Result<(), NotHere> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .map_err(|error| NotHere(format!("{name}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(NotHere(format!("{name}: {}", said.trim())))
}
