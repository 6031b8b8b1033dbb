package index

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync/atomic"

	"github.com/coredns-ddns/ddns/plugin/zone"
)

// The words of a record. The name follows, zero padded to whole words.
const (
	wordHead     = iota
	wordRevision // of a free place: the next one of its size
	wordA        // IPv4 address << 32 | TTL
	wordAAAA
	wordAAAALow
	wordBelow // hosts below the name
	wordName
)

const wordBytes = 8

// The head: from bit 0 the name's length, the zone.Flags, these bits, and from
// headSeq on how often the place was written, odd while that is under way.
const (
	headLength = 0xff
	headFlags  = 8 // shift
	headLive   = 1 << 24
	headHost   = 1 << 25 // else an empty non-terminal
	headA      = 1 << 26
	headAAAA   = 1 << 27
	headSeq    = 1 << 28
	headCount  = 1<<64 - headSeq // all of how often
	headKept   = 0xffff<<headFlags | headHost | headA | headAAAA
)

// place is the words of the arena that one record after the other lives in. Its
// size never changes, so a reader that comes late, with a reference to a record
// that is gone, finds a head where it looks for one, and by the head, read
// before and after the rest, that what it read is whole.
type place []uint64

// record is a copy of a place without the name.
type record struct {
	head, revision, a, aaaa, aaaaLow, below uint64
}

func hostRecord(st zone.State) record {
	r := record{
		head:     headHost | uint64(st.Flags)<<headFlags,
		revision: uint64(st.Revision),
		a:        uint64(st.TTL),
	}
	if st.A.IsValid() {
		b := st.A.As4()
		r.head |= headA
		r.a |= uint64(binary.BigEndian.Uint32(b[:])) << 32
	}
	if st.AAAA.IsValid() {
		b := st.AAAA.As16()
		r.head |= headAAAA
		r.aaaa, r.aaaaLow = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	}
	return r
}

func (r *record) isHost() bool      { return r.head&headHost != 0 }
func (r *record) flags() zone.Flags { return zone.Flags(r.head >> headFlags) }

// fill writes the state into st, which is zero, field by field: to copy a state
// just written would wait until the record has come from memory.
func (r *record) fill(st *zone.State) {
	st.Revision = zone.Revision(r.revision)
	st.TTL = uint32(r.a)
	st.Flags = r.flags()
	if r.head&headA != 0 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(r.a>>32))
		st.A = netip.AddrFrom4(b)
	}
	if r.head&headAAAA != 0 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], r.aaaa)
		binary.BigEndian.PutUint64(b[8:], r.aaaaLow)
		st.AAAA = netip.AddrFrom16(b)
	}
}

// recordWords is the size of a place for a name of so many octets, in words.
func recordWords(nameLen int) int { return wordName + (nameLen+wordBytes-1)/wordBytes }

// read copies the record into r when it is that of key. Otherwise it reports
// false and leaves r in disorder.
func (p place) read(key []byte, r *record) bool {
	for try := 0; ; try++ {
		head := p.load(wordHead)
		if head&headSeq == 0 {
			mine := head&(headLive|headLength) == headLive|uint64(len(key)) && p.named(key)
			if mine {
				p.copy(r)
			}
			if r.head = head; p.load(wordHead) == head {
				return mine
			}
		}
		pause(try)
	}
}

// readAny copies the record into r, whosever it is, and its name into buf. The
// record of a free place is no host.
func (p place) readAny(r *record, buf *[maxKey + 2]byte) []byte {
	for try := 0; ; try++ {
		r.head = p.load(wordHead)
		if r.head&headSeq == 0 {
			n := int(r.head & headLength)
			p.copy(r)
			for i := wordName; i < recordWords(n); i++ {
				binary.LittleEndian.PutUint64(buf[(i-wordName)*wordBytes:], p.load(i))
			}
			if p.load(wordHead) == r.head {
				return buf[:n]
			}
		}
		pause(try)
	}
}

// pause lets the writer go on, which at times has lost its processor halfway.
func pause(try int) {
	if try > 100 {
		runtime.Gosched()
	}
}

func (p place) load(word int) uint64 { return atomic.LoadUint64(&p[word]) }

// copy reads all but the head.
func (p place) copy(r *record) {
	p = p[:wordName]
	r.revision = p.load(wordRevision)
	r.a = p.load(wordA)
	r.aaaa = p.load(wordAAAA)
	r.aaaaLow = p.load(wordAAAALow)
	r.below = p.load(wordBelow)
}

func (p place) named(key []byte) bool {
	i := wordName
	for ; len(key) >= wordBytes; i++ {
		if p.load(i) != binary.LittleEndian.Uint64(key) {
			return false
		}
		key = key[wordBytes:]
	}
	return len(key) == 0 || p.load(i) == lastWord(key)
}

// lastWord is the 1 to 7 octets that end a name, padded.
func lastWord(b []byte) uint64 {
	n := len(b)
	if n >= 4 { // two halves that may overlap
		return uint64(binary.LittleEndian.Uint32(b)) |
			uint64(binary.LittleEndian.Uint32(b[n-4:]))<<(8*(n-4))
	}
	return uint64(b[0]) | uint64(b[n/2])<<(8*(n/2)) | uint64(b[n-1])<<(8*(n-1))
}

// write makes p the record r of key, which has the length that p is for.
func (p place) write(key []byte, r record) {
	p.open(len(key))
	for i := wordName; len(key) > 0; i++ {
		n := min(len(key), wordBytes)
		var b [wordBytes]byte
		copy(b[:], key[:n])
		p.store(i, binary.LittleEndian.Uint64(b[:]))
		key = key[n:]
	}
	p.fill(r)
}

// rewrite gives the record in p the fields of r and leaves its name.
func (p place) rewrite(r record) {
	p.open(int(p[wordHead] & headLength))
	p.fill(r)
}

// release makes p free, the first before next.
func (p place) release(next uint32) {
	p.open(int(p[wordHead] & headLength))
	p.store(wordRevision, uint64(next))
	p.close(0)
}

func (p place) fill(r record) {
	p.store(wordRevision, r.revision)
	p.store(wordA, r.a)
	p.store(wordAAAA, r.aaaa)
	p.store(wordAAAALow, r.aaaaLow)
	p.store(wordBelow, r.below)
	p.close(headLive | r.head&headKept)
}

// open and close bracket every change of a place. Between them readers of it
// try again.
func (p place) open(nameLen int) {
	p.store(wordHead, (p[wordHead]&headCount+headSeq)|uint64(nameLen))
}

func (p place) close(bits uint64) {
	p.store(wordHead, (p[wordHead]&(headCount|headLength)+headSeq)|bits)
}

func (p place) store(word int, v uint64) { atomic.StoreUint64(&p[word], v) }
