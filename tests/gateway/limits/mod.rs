//! Configured limits: what exceeds them is refused in time, sessions within them do not suffer, and the gateway recovers.

mod overload;
mod quotas;
mod shares;
