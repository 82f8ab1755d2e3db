//! Keys that change with a restart only, because sockets and threads are made once.

use crate::config::model::Config;

/// Copies the values of such keys from the running configuration into a newer one. Returns the dotted paths of the keys whose
/// values differed.
pub fn keep_restart_only(running: &Config, newer: &mut Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut keep = |key, differs| {
        if differs {
            changed.push(key);
        }
    };
    let (old, new) = (&running.gateway, &mut newer.gateway);
    keep("gateway.listen", restore(&old.listen, &mut new.listen));
    keep("gateway.workers", restore(&old.workers, &mut new.workers));
    keep("gateway.pin", restore(&old.pin, &mut new.pin));
    keep("gateway.driver", restore(&old.driver, &mut new.driver));
    keep("monitoring.listen", restore(&running.monitoring.listen, &mut newer.monitoring.listen));
    let is_other = restore(&running.admin.listen, &mut newer.admin.listen);
    keep("admin.listen", is_other);
    // the token belongs to the address: a TCP listener whose file has no token any more must not lose it
    let is_other = is_other && restore(&running.admin.token, &mut newer.admin.token);
    keep("admin.token", is_other);
    changed
}

/// Makes `new` equal to `old`; whether they differed before.
fn restore<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
    let differs = old != new;
    if differs {
        new.clone_from(old);
    }
    differs
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "stream_manager.url = \"http://10.0.0.2\"\n\
                        tls.certificates = [{ chain = \"c\", key = \"k\" }]\n";

    #[test]
    fn a_reload_keeps_sockets_and_threads_and_changes_all_other_keys() {
        let read =
            |more: &str| crate::config::read(&format!("{more}\n{TEXT}")).expect("a good configuration");
        let running = read("");
        let mut newer = read(
            "gateway.listen = [\"0.0.0.0:444\"]\ngateway.workers = 7\ngateway.pin = false\n\
             gateway.driver = \"epoll\"\ngateway.drain = \"7s\"\nmonitoring.listen = \"off\"\n\
             monitoring.sessions = \"on\"\nadmin.listen = \"off\"\norigins.port = 7",
        );
        let wanted = newer.clone();
        let keys = keep_restart_only(&running, &mut newer);
        let all = [
            "gateway.listen",
            "gateway.workers",
            "gateway.pin",
            "gateway.driver",
            "monitoring.listen",
            "admin.listen",
        ];
        assert_eq!(keys, all);
        assert_eq!((&newer.admin, newer.monitoring.listen), (&running.admin, running.monitoring.listen));
        assert_eq!(newer.monitoring.sessions, wanted.monitoring.sessions);
        assert_eq!(newer.gateway.listen, running.gateway.listen);
        assert_eq!((newer.gateway.drain, &newer.origins), (wanted.gateway.drain, &wanted.origins));
        assert!(keep_restart_only(&running, &mut newer).is_empty());
    }

    #[test]
    fn a_token_changes_with_a_reload_unless_the_address_does() {
        let read =
            |more: &str| crate::config::read(&format!("{more}\n{TEXT}")).expect("a good configuration");
        let running = read("admin = { listen = \"127.0.0.1:9181\", token = \"env:ONE\" }");
        let mut newer = read("admin = { listen = \"127.0.0.1:9181\", token = \"env:TWO\" }");
        assert!(keep_restart_only(&running, &mut newer).is_empty());
        assert_ne!(newer.admin.token, running.admin.token);
        let mut newer = read("admin.listen = \"auto\"");
        assert_eq!(keep_restart_only(&running, &mut newer), ["admin.listen", "admin.token"]);
        assert_eq!(newer.admin, running.admin, "the listener still needs its token");
    }
}
