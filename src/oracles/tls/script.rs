//! The steps that an input describes.

/// One step. The first number of a step about records chooses the record.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step<'s> {
    /// The client sends this number of bytes, now or when it can.
    Say(usize),
    /// The gateway sends this number of bytes, if it can.
    Answer(usize),
    /// The client sends a KeyUpdate that asks for one in return.
    Renew,
    /// The gateway receives what is under way to it.
    ToGateway,
    /// The client receives what is under way to it.
    ToClient,
    /// Both receive all that is under way, until neither has anything to send.
    Settle,
    /// The client sends close_notify.
    ClientCloses,
    /// The gateway sends close_notify.
    GatewayCloses,
    /// From now on the gateway receives this number of bytes at a time.
    AtOnce(u8),
    /// A plain handshake message comes in two records.
    Fragment(u8, u8),
    // steps that no correct client takes
    /// A record and the next one change places.
    Swap(u8),
    /// A record comes twice.
    Double(u8),
    /// A record is lost.
    Lose(u8),
    /// The end of a record is lost; the number of bytes.
    Cut(u8, u8),
    /// One bit of a record is flipped.
    Flip(u8, u8),
    /// Bytes that the client did not send stand before a record.
    Put(u8, &'s [u8]),
    /// A record of this type with this payload comes, encrypted with the client's key.
    Hand(u8, &'s [u8]),
}

impl Step<'_> {
    /// Whether no correct client on a correct network takes this step.
    pub(crate) const fn harms(self) -> bool {
        matches!(self, Self::Swap(_) | Self::Double(_) | Self::Lose(_) | Self::Cut(..))
            || matches!(self, Self::Flip(..) | Self::Put(..) | Self::Hand(..))
    }
}

/// The steps that are left of an input.
pub(crate) struct Script<'s>(pub(crate) &'s [u8]);

impl<'s> Script<'s> {
    /// The next step; missing bytes of it at the end of the input are zero.
    pub(crate) fn next(&mut self) -> Option<Step<'s>> {
        let (&step, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(match step % 18 {
            0 | 17 => Step::Say(self.size()),
            1 => Step::Answer(self.size()),
            2 => Step::Renew,
            3 => Step::ToGateway,
            4 => Step::ToClient,
            5 => Step::Settle,
            6 => Step::ClientCloses,
            7 => Step::GatewayCloses,
            8 => Step::AtOnce(self.byte()),
            9 => Step::Fragment(self.byte(), self.byte()),
            10 => Step::Swap(self.byte()),
            11 => Step::Double(self.byte()),
            12 => Step::Lose(self.byte()),
            13 => Step::Cut(self.byte(), self.byte()),
            14 => Step::Flip(self.byte(), self.byte()),
            15 => Step::Put(self.byte(), self.bytes()),
            _ => Step::Hand(self.byte(), self.bytes()),
        })
    }

    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// A size: a few bytes, or up to two records.
    fn size(&mut self) -> usize {
        let size = usize::from(self.byte());
        if size < 200 { size } else { (size - 199) * 350 }
    }

    fn bytes(&mut self) -> &'s [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }
}
