//! Small disks for a store of a test: one that is filled, one that hangs.
//!
//! *Place*: a test makes them in the cluster's folder before the servers start; [`crate::Cluster`] keeps them.
//!
//! *Life of a disk*: made and mounted → the test fills or freezes it, and ends that → thawed, unmounted when dropped, after
//! the processes that use it.
//!
//! *Limits*: they need the right to mount. Without it [`Disk::may_mount`] says so, and the test cannot be made.
//!
//! *Next stop*: `tests/faults_disk.rs`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of its own.
#[derive(Debug)]
pub struct Disk {
    place: PathBuf,
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {errors}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("invariant: test folders are text")
}

impl Disk {
    /// Whether this process may mount anything.
    pub fn may_mount() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// A disk in memory.
    pub fn in_memory(place: PathBuf, mebibytes: u64) -> Self {
        fs::create_dir_all(&place).expect("a folder");
        let size = format!("size={mebibytes}m");
        run(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs", text(&place)],
        );
        Self { place }
    }

    /// A disk in a file beside it, which can be frozen.
    pub fn in_file(place: PathBuf, mebibytes: u64) -> Self {
        fs::create_dir_all(&place).expect("a folder");
        let image = place.with_extension("image");
        let file = File::create(&image).expect("a file");
        file.set_len(mebibytes << 20).expect("room for the disk");
        run("mkfs.ext4", &["-q", text(&image)]);
        run("mount", &["-o", "loop", text(&image), text(&place)]);
        Self { place }
    }

    fn filler(&self) -> PathBuf {
        self.place.join("filler")
    }

    /// Leaves so much room.
    pub fn fill(&self, left_mebibytes: u64) {
        let file = File::create(self.filler()).expect("a file");
        self.extend(&file, left_mebibytes << 20)
            .expect("room for the filler");
    }

    /// Grows a file until so many bytes are left.
    fn extend(&self, file: &File, left: u64) -> Result<(), rustix::io::Errno> {
        let space = rustix::fs::statvfs(&self.place).expect("a file system");
        let size = (space.f_bavail * space.f_frsize).saturating_sub(left);
        let end = file.metadata().expect("a file").len();
        rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), end, size)
    }

    /// Leaves no room at all, whoever else writes meanwhile: most of it slowly, the last 300 MiB in one breath.
    pub fn fill_up(&self) {
        self.fill(300);
        let mut file = File::options()
            .append(true)
            .open(self.filler())
            .expect("a file");
        // What does not fit any more while others write is taken byte by byte.
        let _ = self.extend(&file, 8 << 20);
        let zeros = vec![0; 1 << 16];
        while file.write_all(&zeros).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    /// Gives the room back.
    pub fn empty(&self) {
        fs::remove_file(self.filler()).expect("it was filled");
    }

    /// From now on writes hang.
    pub fn freeze(&self) {
        run("fsfreeze", &["--freeze", text(&self.place)]);
    }

    /// They go on, whether it is frozen or not.
    pub(crate) fn let_go(&self) {
        // Fails where it is not frozen, which is fine.
        let thaw = ["--unfreeze", text(&self.place)];
        let _ = Command::new("fsfreeze").args(thaw).output();
    }

    /// They go on.
    pub fn thaw(&self) {
        run("fsfreeze", &["--unfreeze", text(&self.place)]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.let_go();
        let unmounted = Command::new("umount")
            .args(["--lazy", text(&self.place)])
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.place.display());
        }
    }
}
