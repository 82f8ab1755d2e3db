//! Reloads of the configuration: what changes and when, what stays, and that a refused reload changes nothing.

mod changes;
mod under_load;
