//! What the gateway has to reach: the stream managers, and the nodes that the configuration names. All at the same time, each for
//! three seconds at most.

use crate::config::Config;
use crate::control::doctor::finding::{Finding, Level};
use crate::control::doctor::{manager, nodes};
use futures_util::future::join;
use rustls::pki_types::CertificateDer;

/// Asks the stream managers and dials the nodes of a configuration; `roots` are the certificates of `stream_manager.ca`.
pub(crate) fn check(config: &Config, roots: &[CertificateDer<'static>]) -> Vec<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let Ok(runtime) = runtime else {
        let remedy = "raise LimitNOFILE= or `ulimit -n`";
        return vec![Finding::warning(
            "network",
            "nothing could be asked: no file descriptor is left",
            remedy,
        )];
    };
    let (asked, dialled) = runtime.block_on(join(manager::ask_all(config, roots), nodes::dial_all(config)));
    // a resolver that does not answer must not hold up the end
    runtime.shutdown_background();
    let mut findings: Vec<_> = asked.iter().map(|(url, asked)| manager::judge(url, asked)).collect();
    // while one answers, clients are served
    if findings.iter().any(|finding| finding.level != Level::Problem) {
        findings.iter_mut().for_each(|finding| finding.level = finding.level.min(Level::Warning));
    }
    findings.extend(nodes::judge(&dialled));
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, keys: &str) -> Config {
        let text = format!(
            "{keys}\nstream_manager.url = \"{url}\"\ntls.certificates = [{{ chain = \"c\", key = \"k\" }}]\n"
        );
        crate::config::read(&text).expect("a good configuration")
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_not_dialled() {
        let findings = check(&config("http://127.0.0.1:1", "origins.names = [\"localhost\"]"), &[]);
        let node = findings.iter().find(|finding| finding.check == "node").expect("a node");
        assert_eq!(node.level, Level::Warning);
        assert!(node.found.contains("an address that is never dialled"), "{node:?}");
        assert!(node.remedy.as_ref().is_some_and(|remedy| remedy.contains("origins.networks")), "{node:?}");
    }

    #[test]
    fn of_several_stream_managers_one_that_answers_is_enough() {
        let answering = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = answering.local_addr().expect("bound").port();
        let serve = std::thread::spawn(move || {
            let (mut tcp, _) = answering.accept().expect("a question");
            let _ = std::io::Read::read(&mut tcp, &mut [0; 4096]);
            let answer = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            std::io::Write::write_all(&mut tcp, answer.as_bytes()).expect("sent");
        });
        let text = format!(
            "stream_manager.urls = [\"http://127.0.0.1:1\", \"http://127.0.0.1:{port}\"]\n\
             tls.certificates = [{{ chain = \"c\", key = \"k\" }}]\n"
        );
        let findings = check(&crate::config::read(&text).expect("a good configuration"), &[]);
        serve.join().expect("served");
        let levels: Vec<_> = findings.iter().map(|finding| finding.level).collect();
        assert_eq!(levels[..2], [Level::Warning, Level::Ok], "{findings:?}");
        assert!(findings[0].found.contains("http://127.0.0.1:1: no connection"), "{findings:?}");
    }

    #[test]
    fn only_single_addresses_and_names_are_dialled() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let keys = format!(
            "origins.port = {port}\norigins.networks = [\"127.0.0.1\", \"10.0.0.0/8\"]\norigins.names = [\"node.invalid\"]"
        );
        let findings = check(&config(&format!("http://127.0.0.1:{port}"), &keys), &[]);
        let levels: Vec<_> = findings.iter().map(|finding| (finding.check, finding.level)).collect();
        // the listener accepts no connection, so the kernel's queue answers the node and nothing answers the question
        assert_eq!(
            levels,
            [("stream manager", Level::Problem), ("node", Level::Ok), ("node", Level::Warning)]
        );
        assert!(findings[0].found.contains("no answer to a question"), "{findings:?}");
    }
}
