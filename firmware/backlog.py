"""Know what a relay lacks of the journal, and sign it, a frame at a time.

A relay names the lowest sequence that it lacks. A frame that the flash has damaged stays lacking,
so the relay names it again whatever follows it is held, until it holds the event that tells of
the damage. What a relay says moves the pointer and nothing else.
"""

import wire

_BATCH = 8


class Backlog:
    """What is to be sent: from `pointer` on, a sequence, None until a relay has named it.

    `read(sequence)` returns a frame of the journal, None if it cannot be read; `sign(frame)`
    returns its signature.
    """

    def __init__(self, journal, read, sign, recorder, log):
        self._journal = journal
        self._read = read
        self._sign = sign
        self._recorder = recorder
        self._log = log
        self._batch = None  # what is signed already: (first sequence, message)
        self._wanted = None  # what a relay named last
        self.go_to(None)

    def go_to(self, sequence):
        """Send from `sequence` on; None: ask first."""
        self.pointer = sequence
        self._out = False  # whether a message went out that no relay has answered
        self._looking = False  # for a frame that can be read
        self._damaged_from = None  # the first that cannot, of those not told yet
        self._signed = []
        self._end = 0  # behind what was signed last

    def want(self, sequence):
        """Take what a relay names; return whether there is something to send for it now."""
        journal = self._journal
        sequence = min(max(sequence, journal.oldest), journal.next)
        self._recorder.asked(sequence)
        repeated = sequence == self._wanted
        self._wanted = sequence
        if repeated and self.pointer is not None and self.pointer > sequence:
            if self._looking or self._signed:
                return False
            if self._out:
                sequence = self._end  # the answer to what follows the damage
        if sequence == self.pointer and self._out:
            return False  # nothing new is held: what was sent is sent again after the pause
        self.go_to(sequence)
        return True

    @property
    def empty(self):
        """Whether nothing is left to send or to tell; `pointer` must be known."""
        return self.pointer >= self._journal.next and not self._looking

    def step(self):
        """Look at one frame; return the message of up to 8 frames once it is whole, else None.

        A range of frames that cannot be read is told at its end, once.
        """
        if self._signed:
            frame = self._read(self._end)
        else:
            self.pointer = self._end = max(self.pointer, self._journal.oldest)
            if self._batch and self._batch[0] == self.pointer:
                return self._give()
            frame = self._look()
        if frame is not None:
            self._signed.append((frame, self._sign(frame)))
            self._end += 1
            if len(self._signed) < _BATCH and self._end < self._journal.next:
                return None
        if not self._signed:
            return None
        self._batch = (self.pointer, wire.pack_frames(self._signed))
        return self._give()

    def _give(self):
        first, message = self._batch
        self._end = first + (len(message) - 1) // (wire.FRAME_SIZE + wire.SIGNATURE_SIZE)
        self._signed = []
        self._looking = False
        self._out = True
        return message

    def _look(self):
        """Return the frame at the pointer; None at the end, or, one further, for a damaged one."""
        at_end = self.pointer >= self._journal.next
        frame = None if at_end else self._read(self.pointer)
        self._looking = frame is None and not at_end
        if not self._looking or self._recorder.knows_damaged(self.pointer):
            self._tell_damaged()
        elif self._damaged_from is None:
            self._damaged_from = self.pointer
        self.pointer += self._looking
        return frame

    def _tell_damaged(self):
        """Tell of the range that ends before the pointer, if there is one."""
        if self._damaged_from is None:
            return
        first = max(self._damaged_from, self._journal.oldest)
        self._damaged_from = None
        if first < self.pointer:
            self._log.error("frames %d to %d are damaged", first, self.pointer - 1)
            try:
                self._recorder.damaged(first, self.pointer - 1)
            except OSError as error:  # the others are to go out all the same
                self._log.error("that could not be told: %s", error)
