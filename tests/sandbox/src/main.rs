//! Runs a cluster alone, so that a page or an SDK can be tried against it without a gateway. Not part of any product.

use std::time::Duration;

use tidegate_sandbox::{Cluster, ClusterConfig, Page};

/// `tidegate-sandbox [MANAGER_PORT [NODES_PORT [PAGE]]]`: the stream manager serves the file PAGE at `/`.
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let port = |at: usize| args.get(at).map_or(Ok(0), |port| port.parse::<u16>());
    let mut config =
        ClusterConfig { manager_port: port(0)?, nodes_port: port(1)?, ..ClusterConfig::default() };
    if let Some(file) = args.get(2) {
        let content_type = "text/html; charset=utf-8".to_owned();
        config.pages.push(Page { path: "/".to_owned(), content_type, body: std::fs::read(file)? });
    }
    let cluster = Cluster::start(config)?;
    println!("manager {}", cluster.manager_url());
    println!("nodes   {:?} port {}", cluster.node_addresses(), cluster.nodes_port());
    loop {
        std::thread::sleep(Duration::from_secs(5));
        for (index, _) in cluster.node_addresses().iter().enumerate() {
            println!("node {index}: {:?}", cluster.node(index).counts());
        }
    }
}
