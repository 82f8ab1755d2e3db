//! What systemd asks of the gateway by its environment: its watchdog, and where to answer.

use crate::control::doctor::finding::Finding;
use std::time::Duration;

/// The least time of a watchdog that a busy machine can keep: workers prove that they run four times a second, and a message goes
/// out in each half of the time.
const WATCHDOG_MIN: Duration = Duration::from_secs(2);

/// Judges the environment of a process; none of it is there without systemd.
pub(crate) fn judge(environment: &[String]) -> Option<Finding> {
    let check = "systemd";
    let value = |name: &str| environment.iter().find_map(|text| text.strip_prefix(name)?.strip_prefix('='));
    let (watchdog, socket) = (value("WATCHDOG_USEC"), value("NOTIFY_SOCKET"));
    let Some(watchdog) = watchdog else {
        return socket.map(|_| {
            Finding::warning(
                check,
                "the unit has no watchdog, so that a gateway that hangs is not restarted",
                "set WatchdogSec=30 in the unit (systemctl edit tidegate)",
            )
        });
    };
    let set = "set WatchdogSec=30 in the unit (systemctl edit tidegate)";
    Some(match (watchdog.parse().map(Duration::from_micros), socket) {
        (Err(_), _) => Finding::warning(check, "WATCHDOG_USEC is no number: there is no watchdog", set),
        (Ok(_), None) => Finding::warning(
            check,
            "there is a watchdog, but no NOTIFY_SOCKET to answer it: the gateway is ended again and again",
            "set Type=notify and NotifyAccess=main in the unit (systemctl edit tidegate)",
        ),
        (Ok(time), Some(_)) if time < WATCHDOG_MIN => {
            Finding::warning(check, format!("the watchdog's {time:?} are too short for a busy machine"), set)
        }
        (Ok(time), Some(_)) => Finding::ok(check, format!("watchdog of {} s", time.as_secs())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::doctor::finding::Level;

    #[test]
    fn the_watchdog_needs_a_time_that_can_be_kept_and_a_socket() {
        let level = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
            judge(&texts).map(|finding| finding.level)
        };
        assert_eq!(level(&["PATH=/usr/bin"]), None, "not started by systemd");
        assert_eq!(level(&["NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=30000000"]), Some(Level::Ok));
        assert_eq!(level(&["NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=500000"]), Some(Level::Warning));
        assert_eq!(level(&["NOTIFY_SOCKET=/run/x", "WATCHDOG_USEC=x"]), Some(Level::Warning));
        assert_eq!(level(&["WATCHDOG_USEC=30000000"]), Some(Level::Warning));
        assert_eq!(level(&["NOTIFY_SOCKET=/run/x"]), Some(Level::Warning));
    }
}
