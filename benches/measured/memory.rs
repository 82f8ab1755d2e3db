//! Stored answers: one answer, and one node that was learned from it.

use super::sample::{ANSWER, EVENT, NODE};
use std::sync::Arc;
use std::time::Duration;
use tidegate::config;
use tidegate::shared::answers::{Answer, Answers};
use tidegate::shared::counters::UseCount;
use tidegate::shared::nodes::{ManagerId, Nodes};

/// The default configuration.
pub fn config() -> config::Config {
    let minimal = "[stream_manager]\nurl = \"http://10.0.0.2:5080\"\n\
        [[tls.certificates]]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n";
    config::read(minimal).expect("a configuration with the required keys")
}

/// The stored answers of a gateway with the default configuration, among them the answer to [`EVENT`].
pub fn answers() -> Answers {
    memory().0
}

/// The nodes of the same gateway; [`NODE`] is learned.
pub fn nodes() -> Arc<Nodes> {
    memory().1
}

fn memory() -> (Answers, Arc<Nodes>) {
    let config = config();
    let (answers, nodes) = Answers::new(&config.answers, config.origins.quarantine);
    nodes.change_managers(config.stream_manager.managers().iter().map(ManagerId::of).collect());
    nodes.learn(NODE.ip());
    answers.keep(EVENT.into(), &Arc::new(answer(&answers)), answers.generation());
    (answers, nodes)
}

/// The stream manager's answer to [`EVENT`]. It stays fresh for longer than any bench takes, and its uses do not run out.
fn answer(answers: &Answers) -> Answer {
    Answer {
        status: 200,
        content_type: Some("application/json".to_owned()),
        body: ANSWER.as_bytes().to_vec(),
        nodes: vec![NODE.ip()],
        fresh: Some(Duration::from_secs(3600)),
        uses: UseCount::new(u32::MAX),
        made: answers.now(),
    }
}
