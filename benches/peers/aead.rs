//! The floor below every gateway: what AES-128-GCM alone costs for the bytes of a row, in place and in cache, nothing else.

use rustls::Side;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::quic::{Keys, Version};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Bytes of a TLS 1.3 record's head, which is authenticated.
const HEAD: [u8; 5] = [23, 3, 3, 0, 0];

/// How long is measured at most, in batches of which the best counts.
const BATCHES: u32 = 40;
const BATCH: Duration = Duration::from_millis(5);

/// Microseconds to seal one record of `size` bytes and to open as much: both differ by less than the noise, so an echo is
/// two of these and a byte that passes a gateway one.
pub fn record(size: usize) -> Option<f64> {
    let suite = TLS13_AES_128_GCM_SHA256.tls13()?;
    // rustls shows its bare AEAD where QUIC needs it
    let keys = Keys::initial(Version::V1, suite, suite.quic?, b"tidegate", Side::Server);
    let mut payload = vec![0x5a; size];
    let mut best = f64::INFINITY;
    let mut number = 0;
    for _ in 0..BATCHES {
        let (began, mut done) = (Instant::now(), 0_u32);
        while began.elapsed() < BATCH {
            for _ in 0..16 {
                black_box(keys.local.packet.encrypt_in_place(number, &HEAD, black_box(&mut payload)).ok()?);
                number += 1;
            }
            done += 16;
        }
        best = best.min(began.elapsed().as_secs_f64() * 1e6 / f64::from(done));
    }
    Some(best)
}
