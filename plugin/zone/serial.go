package zone

import "time"

// SerialLess compares SOA serials as RFC 1982 has it.
func SerialLess(a, b uint32) bool { return a != b && b-a < 1<<31 }

// NextSerial is the serial of a commit made at now, when the zone's latest
// commit had last and served (0: none) is the highest that its maker has
// published: the unix second. Where the clock has been set back behind either it
// counts on from there, so that a serial never goes back and still tells of
// every change.
func NextSerial(last, served uint32, now time.Time) uint32 {
	serial := uint32(now.Unix())
	if SerialLess(serial, last) {
		serial = last + 1
	}
	if served != 0 && !SerialLess(served, serial) {
		serial = served + 1
	}
	return serial
}

// Serial derives the serial to publish from those of the commits. All commits
// of one second share a serial; it is published once that second is over. A
// commit that becomes known only after its serial was published counts as one
// of the next. The zero value has seen no commit.
type Serial struct {
	last      uint32 // of the latest commit
	before    uint32 // of the latest commit with another serial
	published uint32 // latest answer of At, 0: none
}

// Load starts with the serial that a store has. Where no commit is ever late
// that is the one to publish, once its second is over; else one more than that
// may have been published before.
func (s *Serial) Load(serial uint32, late bool) {
	switch {
	case s.last != 0:
		s.Commit(serial)
	case late:
		s.last, s.before = serial+1, serial+1
	default:
		s.last, s.before = serial, serial-1
	}
}

// Commit takes note of a commit's serial.
func (s *Serial) Commit(serial uint32) {
	if s.published != 0 && !SerialLess(s.published, serial) {
		serial = s.published + 1
	}
	if serial != s.last {
		s.before, s.last = s.last, serial
	}
}

// At is the serial to publish at now, never lower than an earlier answer.
func (s *Serial) At(now time.Time) uint32 {
	serial := s.last
	if serial == uint32(now.Unix()) {
		serial = s.before
	}
	if s.published == 0 || SerialLess(s.published, serial) {
		s.published = serial
	}
	return s.published
}
