//! Which users besides tidegate's may read a private key.

use nix::unistd::{Gid, Uid, User, getgrouplist, getgroups};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The user that the packaged unit runs the gateway as.
const SERVICE_USER: &str = "tidegate";

// permission bits of a file or folder (inode(7))
const GROUP_READ: u32 = 0o040;
const GROUP_ENTER: u32 = 0o010;
const OTHERS_READ: u32 = 0o004;
const OTHERS_ENTER: u32 = 0o001;

/// Mode and group of a file or folder.
#[derive(Debug, Clone, Copy)]
struct Access {
    mode: u32,
    group: u32,
}

/// Which users may read the key at `path` although they need not, in words; `None` if there are none, or if the file can't be
/// looked at. A folder on the way that is closed to them keeps them out.
pub(crate) fn exposure(path: &Path) -> Option<String> {
    let path = path.canonicalize().ok()?;
    let access = |path: &Path| {
        let file = fs::metadata(path).ok()?;
        Some(Access { mode: file.mode(), group: file.gid() })
    };
    let file = fs::metadata(&path).ok()?;
    let folders: Option<Vec<_>> = path.ancestors().skip(1).map(access).collect();
    judge(access(&path)?, &folders?, &trusted_groups(file.uid()))
}

/// The command that closes a key to other users, in one sentence.
pub(crate) fn close_key(path: &Path) -> String {
    let path = path.display();
    format!(
        "`chmod 600 {path}` if tidegate's user owns it, else `chgrp {SERVICE_USER} {path} && chmod 640 {path}`"
    )
}

fn judge(file: Access, folders: &[Access], trusted: &[u32]) -> Option<String> {
    let mode = file.mode & 0o7777;
    if file.mode & OTHERS_READ != 0 && folders.iter().all(|folder| folder.mode & OTHERS_ENTER != 0) {
        return Some(format!("every user of this machine (mode {mode:04o})"));
    }
    let may_enter = |folder: &Access| {
        folder.mode & OTHERS_ENTER != 0 || (folder.group == file.group && folder.mode & GROUP_ENTER != 0)
    };
    let is_open = file.mode & GROUP_READ != 0 && folders.iter().all(may_enter);
    (is_open && !trusted.contains(&file.group)).then(|| {
        format!("the group {}, which is not of tidegate's user (mode {mode:04o})", group_name(file.group))
    })
}

fn group_name(group: u32) -> String {
    let known = nix::unistd::Group::from_gid(Gid::from_raw(group)).ok().flatten();
    known.map_or_else(|| group.to_string(), |group| group.name)
}

/// The groups that may read a key of this owner: root's, the owner's own, those of this process, and those of the service's user.
fn trusted_groups(owner: u32) -> Vec<u32> {
    let mut groups = vec![0, Gid::effective().as_raw()];
    groups.extend(getgroups().into_iter().flatten().map(Gid::as_raw));
    groups.extend(User::from_uid(Uid::from_raw(owner)).ok().flatten().map(|user| user.gid.as_raw()));
    if let Some(service) = User::from_name(SERVICE_USER).ok().flatten() {
        let name = CString::new(service.name).unwrap_or_default();
        groups.extend(getgrouplist(&name, service.gid).into_iter().flatten().map(Gid::as_raw));
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const OPEN: Access = Access { mode: 0o755, group: 0 };

    fn judged(mode: u32, folders: &[Access]) -> Option<String> {
        judge(Access { mode: 0o100_000 | mode, group: 7 }, folders, &[0, 5])
    }

    #[test]
    fn a_key_for_other_users_is_exposed_unless_a_folder_keeps_them_out() {
        assert_eq!(judged(0o600, &[OPEN]), None);
        assert_eq!(judged(0o644, &[OPEN, OPEN]).as_deref(), Some("every user of this machine (mode 0644)"));
        let closed = Access { mode: 0o700, group: 0 };
        assert_eq!(judged(0o644, &[closed, OPEN]), None);
        assert_eq!(judged(0o604, &[closed, OPEN]), None);
    }

    #[test]
    fn a_key_for_a_group_is_exposed_unless_the_group_is_trusted() {
        let readers = judged(0o640, &[OPEN]).expect("exposed");
        assert!(readers.starts_with("the group ") && readers.ends_with("(mode 0640)"), "{readers}");
        let folder_of_the_group = Access { mode: 0o750, group: 7 };
        assert!(judged(0o640, &[folder_of_the_group]).is_some());
        let folder_of_another = Access { mode: 0o750, group: 8 };
        assert_eq!(judged(0o640, &[folder_of_another]), None);
        let trusted = Access { mode: 0o640, group: 5 };
        assert_eq!(judge(trusted, &[OPEN], &[0, 5]), None);
    }

    #[test]
    fn the_mode_of_a_real_file_counts() {
        let path = std::env::temp_dir().join(format!("tidegate-exposure-{}", std::process::id()));
        fs::write(&path, "key").expect("written");
        let with_mode = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its owner may");
            exposure(&path)
        };
        assert!(with_mode(0o644).is_some_and(|readers| readers.contains("0644")));
        assert_eq!(with_mode(0o600), None);
        assert_eq!(with_mode(0o640), None, "a file of this process's own group");
        fs::remove_file(&path).expect("removed");
        assert_eq!(exposure(&path), None, "there is no file");
    }
}
