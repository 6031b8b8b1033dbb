package zone

import "time"

// SerialLess compares SOA serials as RFC 1982 has it.
func SerialLess(a, b uint32) bool { return a != b && b-a < 1<<31 }

// NextSerial is the serial of a commit made at now, when the zone's latest
// commit had last: the unix second. Where the clock has been set back behind
// last it counts on from there, so that a serial never goes back and still
// tells of every change.
func NextSerial(last uint32, now time.Time) uint32 {
	second := uint32(now.Unix())
	if SerialLess(second, last) {
		return last + 1
	}
	return second
}

// Serial derives the serial to publish from those of the commits. All commits
// of one second share a serial; it is published once that second is over, so
// that a secondary which has seen it misses nothing. The zero value has seen no
// commit.
type Serial struct {
	last      uint32 // of the latest commit
	before    uint32 // of the latest commit with another serial
	published uint32 // highest answer of At
	known     bool
}

// Commit takes note of a commit's serial.
func (s *Serial) Commit(serial uint32) {
	switch {
	case !s.known:
		s.last, s.before, s.known = serial, serial-1, true
	case serial != s.last:
		s.before, s.last = s.last, serial
	}
}

// At is the serial to publish at now, never lower than an earlier answer.
func (s *Serial) At(now time.Time) uint32 {
	serial := s.last
	if serial == uint32(now.Unix()) {
		serial = s.before
	}
	if !s.known || SerialLess(s.published, serial) || s.published == 0 {
		s.published = serial
	}
	return s.published
}
