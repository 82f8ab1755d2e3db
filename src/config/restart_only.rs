//! Keys that can't change while serving: sockets and threads are made once.

use crate::config::model::Config;

/// Puts the running values of such keys in place of those of a newer configuration, and names the keys that differed.
pub fn keep_running(running: &Config, newer: &mut Config) -> Vec<&'static str> {
    let mut changed = Vec::new();
    let mut keep = |key, differs| {
        if differs {
            changed.push(key);
        }
    };
    let (old, new) = (&running.gateway, &mut newer.gateway);
    keep("gateway.listen", swap(&old.listen, &mut new.listen));
    keep("gateway.workers", swap(&old.workers, &mut new.workers));
    keep("gateway.pin", swap(&old.pin, &mut new.pin));
    keep("gateway.driver", swap(&old.driver, &mut new.driver));
    keep("admin.listen", swap(&running.admin.listen, &mut newer.admin.listen));
    changed
}

/// Whether they differed; then they do no more.
fn swap<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
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
    fn sockets_and_threads_stay_and_all_else_goes_on() {
        let read =
            |more: &str| crate::config::read(&format!("{more}\n{TEXT}")).expect("a good configuration");
        let running = read("");
        let mut newer = read(
            "gateway.listen = [\"0.0.0.0:444\"]\ngateway.workers = 7\ngateway.pin = false\n\
             gateway.driver = \"epoll\"\ngateway.drain = \"7s\"\nadmin.listen = \"off\"\norigins.port = 7",
        );
        let wanted = newer.clone();
        let keys = keep_running(&running, &mut newer);
        let all = ["gateway.listen", "gateway.workers", "gateway.pin", "gateway.driver", "admin.listen"];
        assert_eq!(keys, all);
        assert_eq!(newer.admin, running.admin);
        assert_eq!(newer.gateway.listen, running.gateway.listen);
        assert_eq!((newer.gateway.drain, &newer.origins), (wanted.gateway.drain, &wanted.origins));
        assert!(keep_running(&running, &mut newer).is_empty());
    }
}
