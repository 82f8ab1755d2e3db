//! Requests before any relay: heads, hostile bytes, forbidden paths, and pages of other web origins.

mod admin_paths;
mod cross_site;
mod head;
mod hostile_requests;
