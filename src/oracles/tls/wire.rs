//! What is on its way from a client to the gateway, as records that an input may tamper with.

/// Content types (RFC 8446, 5.1).
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;

/// Bytes on their way, cut into what looks like records.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    records: Vec<Vec<u8>>,
    /// A ChangeCipherSpec went by: handshake records behind it are encrypted.
    sealed: bool,
    /// Something other than the client's own bytes, in their order, is or was on the wire.
    pub(crate) tampered: bool,
}

impl Wire {
    /// Puts what a client said behind all that is there; it says whole records.
    pub(crate) fn push(&mut self, mut said: &[u8]) {
        while let Some(header) = said.get(..5) {
            let length = 5 + usize::from(u16::from_be_bytes([header[3], header[4]]));
            let (record, rest) = said.split_at(length.min(said.len()));
            self.records.push(record.to_vec());
            said = rest;
        }
        assert!(said.is_empty(), "a client says whole records");
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All of it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.sealed |= self.records.iter().any(|record| record.first() == Some(&CHANGE_CIPHER_SPEC));
        std::mem::take(&mut self.records).concat()
    }

    /// The record that a number chooses, if there is one.
    fn place(&self, choice: u8) -> Option<usize> {
        (!self.records.is_empty()).then(|| usize::from(choice) % self.records.len())
    }

    /// Swaps a record with the one behind it.
    pub(crate) fn swap(&mut self, choice: u8) {
        let Some(place) = self.place(choice).filter(|place| place + 1 < self.records.len()) else { return };
        self.tampered |= self.records[place] != self.records[place + 1];
        self.records.swap(place, place + 1);
    }

    /// Sends a record twice.
    pub(crate) fn double(&mut self, choice: u8) {
        let Some(place) = self.place(choice) else { return };
        self.tampered = true;
        self.records.insert(place, self.records[place].clone());
    }

    /// Loses a record.
    pub(crate) fn lose(&mut self, choice: u8) {
        let Some(place) = self.place(choice) else { return };
        self.tampered = true;
        self.records.remove(place);
    }

    /// Loses the end of a record; what follows takes its place.
    pub(crate) fn cut(&mut self, choice: u8, by: u8) {
        let Some(place) = self.place(choice).filter(|_| by > 0) else { return };
        self.tampered = true;
        let record = &mut self.records[place];
        record.truncate(record.len().saturating_sub(by.into()));
    }

    /// Flips a bit.
    pub(crate) fn flip(&mut self, choice: u8, at: u8) {
        let Some(place) = self.place(choice) else { return };
        let record = &mut self.records[place];
        // near the beginning, where the headers are, or anywhere
        let index = if at < 128 { usize::from(at) / 8 } else { usize::from(at) * 7 % record.len().max(1) };
        let Some(byte) = record.get_mut(index) else { return };
        *byte ^= 1 << (at % 8);
        self.tampered = true;
    }

    /// Puts bytes in that nobody said, before a record or behind all.
    pub(crate) fn put(&mut self, choice: u8, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.tampered = true;
        self.records.insert(usize::from(choice) % (self.records.len() + 1), bytes.to_vec());
    }

    /// Gives a plain handshake message in two records instead of one, which is every client's right (RFC 8446, 5.1).
    pub(crate) fn fragment(&mut self, choice: u8, at: u8) {
        let Some(place) = self.place(choice) else { return };
        let before = self.records[..place].iter().any(|record| record.first() == Some(&CHANGE_CIPHER_SPEC));
        let record = &self.records[place];
        if self.sealed || self.tampered || before || record.first() != Some(&HANDSHAKE) || record.len() < 7 {
            return;
        }
        let payload = &record[5..];
        let at = 1 + usize::from(at) % (payload.len() - 1);
        let fragment = |payload: &[u8]| {
            let length = u16::try_from(payload.len()).expect("a part of a record").to_be_bytes();
            [&record[..3], &length[..], payload].concat()
        };
        let halves = [fragment(&payload[..at]), fragment(&payload[at..])];
        self.records.splice(place..=place, halves);
    }
}
