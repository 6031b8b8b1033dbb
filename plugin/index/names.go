package index

import "github.com/coredns-ddns/ddns/plugin/zone"

// A name that hosts are below is a record too, an empty non-terminal when it is
// no host itself. Between a host and the apex all of them count it; the apex
// needs no record for that, so a host of one label costs nothing more.

// raiseAncestors counts a host that is about to be. It begins at the top: no
// reader finds a name whose parent is not there.
func (x *Index) raiseAncestors(key []byte) {
	var buf [maxKey / 2]uint8
	cuts := ancestors(key, buf[:0])
	for i := len(cuts) - 1; i >= 0; i-- {
		name := key[cuts[i]:]
		e := x.find(name)
		if !e.exists() {
			x.insert(e, name, record{below: 1})
			continue
		}
		e.record.below++
		x.replace(e, name, e.record)
	}
}

// lowerAncestors counts a host that is no more, and begins at the bottom.
func (x *Index) lowerAncestors(key []byte) {
	var buf [maxKey / 2]uint8
	for _, cut := range ancestors(key, buf[:0]) {
		name := key[cut:]
		e := x.find(name)
		if e.record.below--; e.record.below == 0 && !e.record.isHost() {
			x.remove(e, name)
			continue
		}
		x.replace(e, name, e.record)
	}
}

// ancestors appends where in key the names between it and the apex begin,
// nearest first.
func ancestors(key []byte, dst []uint8) []uint8 {
	if len(key) == 0 {
		return dst
	}
	for at := 1 + int(key[0]); at < len(key); at += 1 + int(key[at]) {
		dst = append(dst, uint8(at))
	}
	return dst
}

func (x *Index) insert(e entry, key []byte, r record) {
	ref := x.arena.take(len(key))
	x.arena.at(ref).write(key, r)
	x.link(e, ref)
	x.wildcards.Add(wildcards(key, r))
}

func (x *Index) replace(e entry, key []byte, r record) {
	x.arena.at(x.reference(e)).rewrite(r)
	x.wildcards.Add(wildcards(key, r) - wildcards(key, e.record))
}

func (x *Index) remove(e entry, key []byte) {
	ref := x.reference(e)
	x.unlink(e)
	x.arena.release(ref)
	x.wildcards.Add(-wildcards(key, e.record))
}

// wildcards is how many sources of synthesis the record of key is.
func wildcards(key []byte, r record) int64 {
	var n int64
	if len(key) >= 2 && key[0] == 1 && key[1] == '*' {
		n++
	}
	if r.isHost() && r.flags()&zone.Wildcard != 0 {
		n++
	}
	return n
}
