//! Where a file that is executed comes from.

use super::{FileId, KernelPath};

const TMPFS: u32 = 0x0102_1994;
const RAMFS: u32 = 0x8584_58f6;
const HUGETLBFS: u32 = 0x9584_58f6;
const OVERLAYFS: u32 = 0x794c_7630;

/// A file of an exec, as its kernel objects describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executable {
    /// Its path.
    pub path: KernelPath,
    /// Its inode.
    pub file: FileId,
    /// Mode bits of that inode.
    pub mode: u32,
    /// Last change of its content, nanoseconds since 1970.
    pub mtime_ns: u64,
    /// Last change of its inode, nanoseconds since 1970.
    pub ctime_ns: u64,
    /// Type of its filesystem, as statfs(2) gives it.
    pub magic: u32,
    /// Hard links.
    pub links: u32,
    /// Its data lies in the upper layer of an overlay.
    pub upper: bool,
    /// It lies on the mount that is the root directory of the process.
    pub on_root: bool,
}

/// Where a file comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The container's image, unchanged.
    Image,
    /// The layer on top of the image: made or changed in this container.
    UpperLayer,
    /// A mount of the container other than its root.
    Volume,
    /// Memory that is mounted: tmpfs, /dev/shm.
    Tmpfs,
    /// Memory without a name (memfd).
    Memfd,
    /// A file that has no name any more.
    Deleted,
    /// The host's filesystems, for a process of the host.
    Host,
    /// It cannot be told, for this reason.
    Unknown(&'static str),
}

impl Executable {
    /// Where it comes from, for a process in a container or on the host.
    #[must_use]
    pub fn origin(&self, in_container: bool) -> Origin {
        let memory = matches!(self.magic, TMPFS | RAMFS | HUGETLBFS);
        if memory && self.path.disconnected && self.path.bytes.starts_with(b"memfd:") {
            return Origin::Memfd;
        }
        if self.path.deleted || self.links == 0 {
            return Origin::Deleted;
        }
        match (memory, in_container, self.on_root) {
            (true, _, false) => Origin::Tmpfs,
            (_, false, _) => Origin::Host,
            (_, true, false) => Origin::Volume,
            (_, true, true) if self.magic != OVERLAYFS => Origin::Unknown(
                "the root of the container is no overlay, so image and changes are not told apart",
            ),
            (_, true, true) if self.upper => Origin::UpperLayer,
            (_, true, true) => Origin::Image,
        }
    }
}

impl Origin {
    /// The one that says more against what is executed, of an interpreter and its script.
    #[must_use]
    pub fn or_worse(self, other: Self) -> Self {
        let rank = |origin: Self| match origin {
            Self::Host | Self::Image => 0,
            Self::Unknown(_) => 1,
            Self::Volume => 2,
            Self::Tmpfs => 3,
            Self::UpperLayer => 4,
            Self::Deleted => 5,
            Self::Memfd => 6,
        };
        if rank(other) > rank(self) { other } else { self }
    }

    /// Its stable name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::UpperLayer => "upper-layer",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Memfd => "memfd",
            Self::Deleted => "deleted",
            Self::Host => "host",
            Self::Unknown(_) => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(magic: u32, upper: bool, on_root: bool) -> Executable {
        Executable {
            magic,
            links: 1,
            upper,
            on_root,
            ..Executable::default()
        }
    }

    #[test]
    fn what_lies_on_the_root_of_a_container_is_of_the_image_or_on_top_of_it() {
        const EXT4: u32 = 0xef53;
        assert_eq!(file(OVERLAYFS, false, true).origin(true), Origin::Image);
        assert_eq!(file(OVERLAYFS, true, true).origin(true), Origin::UpperLayer);
        assert_eq!(file(OVERLAYFS, true, false).origin(true), Origin::Volume);
        assert_eq!(file(EXT4, false, false).origin(true), Origin::Volume);
        assert!(matches!(file(EXT4, false, true).origin(true), Origin::Unknown(_)));
        assert_eq!(file(EXT4, false, true).origin(false), Origin::Host);
        assert_eq!(file(EXT4, false, false).origin(false), Origin::Host);
    }

    #[test]
    fn a_script_from_elsewhere_counts_though_its_interpreter_is_of_the_image() {
        assert_eq!(Origin::Image.or_worse(Origin::UpperLayer), Origin::UpperLayer);
        assert_eq!(Origin::Memfd.or_worse(Origin::Image), Origin::Memfd);
        assert_eq!(Origin::Volume.or_worse(Origin::Unknown("x")), Origin::Volume);
    }

    #[test]
    fn memory_and_files_without_a_name_are_told_wherever_they_are() {
        for in_container in [false, true] {
            assert_eq!(file(TMPFS, false, false).origin(in_container), Origin::Tmpfs);
            let mut memfd = file(TMPFS, false, false);
            memfd.links = 0;
            memfd.path.disconnected = true;
            memfd.path.bytes = b"memfd:x".to_vec();
            assert_eq!(memfd.origin(in_container), Origin::Memfd);
            let mut gone = file(OVERLAYFS, true, true);
            gone.path.deleted = true;
            assert_eq!(gone.origin(in_container), Origin::Deleted);
        }
        assert_eq!(file(RAMFS, false, true).origin(false), Origin::Host);
    }
}
