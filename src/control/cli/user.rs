//! The change to another user, so that a command sees what that user may see.

use crate::control::exit::{ExitError, USAGE};
use nix::errno::Errno;
use nix::unistd::{self, Uid, User};
use std::ffi::CString;

/// Takes on the user `name` with its groups, for good: the process can't change back. Fails with exit code 64 if there is no such
/// user, and with 71 for a process that may not change its user.
pub(crate) fn become_user(name: &str) -> Result<(), ExitError> {
    let user = User::from_name(name).map_err(|error| {
        ExitError::os(format!("can't look up the user {name} ({error}); check /etc/nsswitch.conf"))
    })?;
    let Some(user) = user else {
        let text = format!("there is no user {name}; `getent passwd` shows all");
        return Err(ExitError { code: USAGE, text });
    };
    if Uid::effective() == user.uid && !Uid::effective().is_root() {
        return Ok(());
    }
    change(&user).map_err(|error| {
        ExitError::os(format!(
            "can't check as {name} ({error}); only root may change its user: start the command with sudo, or as that user without \
             --user"
        ))
    })
}

/// The groups first: a process that is not root any more may not change them.
fn change(user: &User) -> Result<(), Errno> {
    let name = CString::new(user.name.as_str()).map_err(|_| Errno::EINVAL)?;
    unistd::initgroups(&name, user.gid)?;
    unistd::setresgid(user.gid, user.gid, user.gid)?;
    unistd::setresuid(user.uid, user.uid, user.uid)
}
