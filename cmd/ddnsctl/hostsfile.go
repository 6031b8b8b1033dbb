package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/plugin/zone"
	"github.com/coredns-ddns/ddns/updateapi"
)

// hostsFile is what import reads: hosts in the file's order, each name once.
type hostsFile struct {
	hosts   []updateapi.ImportHost
	leftOut []string // a line for each record that is no host
	sum     string   // SHA-256 of the file and of how it was read
}

// Formats of a hostsFile.
const (
	formatJSONL = "jsonl"
	formatZone  = "zone"
)

// readHosts reads all of r before anything is sent: a mistake in the last line
// is to be found first. Format "" takes what begins with a brace for JSON lines.
// Origin is for a zone file's relative names, "" for none.
func readHosts(r io.Reader, name, format, origin string) (*hostsFile, error) {
	hash := sha256.New()
	in := bufio.NewReaderSize(io.TeeReader(r, hash), 1<<16)
	if format == "" {
		format = guessFormat(in)
	}
	var f *hostsFile
	var err error
	if format == formatJSONL {
		if origin != "" {
			return nil, usage("--zone %s: %s is JSON lines, whose names are whole; want it with a zone file only", origin, name)
		}
		f, err = readJSONLines(in, name)
	} else {
		f, err = readZone(in, name, origin)
	}
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(hash, format, origin)
	f.sum = hex.EncodeToString(hash.Sum(nil))
	return f, nil
}

func guessFormat(in *bufio.Reader) string {
	start, _ := in.Peek(1 << 10) // an error shows up again when reading
	if bytes.HasPrefix(bytes.TrimSpace(start), []byte("{")) {
		return formatJSONL
	}
	return formatZone
}

// jsonLine is an ImportHost, or a host as host list -o json writes it; what only
// that has is left aside.
type jsonLine struct {
	updateapi.ImportHost
	Zone     json.RawMessage `json:"zone"`
	Revision json.RawMessage `json:"revision"`
	Seen     json.RawMessage `json:"seen"`
}

func readJSONLines(in *bufio.Reader, file string) (*hostsFile, error) {
	f := &hostsFile{}
	lines := map[zone.Name]int{}
	for line := 1; ; line++ {
		text, end := in.ReadBytes('\n')
		if end != nil && end != io.EOF {
			return nil, end
		}
		if text = bytes.TrimSpace(text); len(text) > 0 {
			host, name, err := parseJSONLine(text)
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, line, err)
			}
			if before := lines[name]; before > 0 {
				return nil, fmt.Errorf("%s:%d: %s is in line %d already", file, line, name, before)
			}
			lines[name] = line
			f.hosts = append(f.hosts, host)
		}
		if end == io.EOF {
			return f, nil
		}
	}
}

func parseJSONLine(text []byte) (updateapi.ImportHost, zone.Name, error) {
	var line jsonLine
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&line)
	if err == nil && decoder.InputOffset() != int64(len(text)) {
		err = errors.New("more than one object in a line")
	}
	if err != nil {
		return line.ImportHost, "", fmt.Errorf(`want a host such as {"name":"home.dyn.example.org","a":"192.0.2.7"}: %w`, err)
	}
	name, err := zone.ParseName(line.Name)
	line.Name = string(name)
	switch {
	case err != nil:
		err = fmt.Errorf("%v", err) // a mistake in the file, not in the command line
	case line.A != "" && !isIPv4(line.A):
		err = fmt.Errorf("%s: a is %q, want an IPv4 address", name, line.A)
	case line.AAAA != "" && !isIPv6(line.AAAA):
		err = fmt.Errorf("%s: aaaa is %q, want an IPv6 address", name, line.AAAA)
	}
	return line.ImportHost, name, err
}

func isIPv4(text string) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Is4()
}

func isIPv6(text string) bool {
	addr, err := netip.ParseAddr(text)
	return err == nil && addr.Is6() && !addr.Is4In6() && addr.Zone() == ""
}

// hostTTL is the TTL nearest to a record's that a host can have; 0 is left to
// the server. Zone files have others, and to refuse a zone for that would help
// nobody.
func hostTTL(ttl uint32) uint32 {
	if ttl == 0 {
		return 0
	}
	return min(max(ttl, updateapi.MinTTL), updateapi.MaxTTL)
}

// readZone takes the A and AAAA of a zone file (RFC 1035, 5) for hosts. A host's
// TTL is that of its first record.
func readZone(in io.Reader, file, origin string) (*hostsFile, error) {
	f := &hostsFile{}
	at := map[zone.Name]int{} // of f.hosts
	records := dns.NewZoneParser(in, origin, file)
	records.SetDefaultTTL(0) // the server's, where the file has none
	for rr, ok := records.Next(); ok; rr, ok = records.Next() {
		addr, why := address(rr)
		if why != "" {
			f.leave(rr, why)
			continue
		}
		name, err := zone.ParseName(rr.Header().Name)
		if err != nil {
			f.leave(rr, "not a plain host name")
			continue
		}
		i, known := at[name]
		if !known {
			i = len(f.hosts)
			at[name] = i
			f.hosts = append(f.hosts, updateapi.ImportHost{
				Name:    string(name),
				HostPut: updateapi.HostPut{TTL: hostTTL(rr.Header().Ttl)},
			})
		}
		slot := &f.hosts[i].A
		if addr.Is6() {
			slot = &f.hosts[i].AAAA
		}
		switch *slot {
		case "":
			*slot = addr.String()
		case addr.String(): // the same record again
		default:
			f.leave(rr, "a host has one address of a family, and "+*slot+" came first")
		}
	}
	err := records.Err()
	if err != nil && origin == "" && strings.Contains(err.Error(), "bad owner name") {
		err = fmt.Errorf("%w (relative names want an $ORIGIN in the file, or --zone)", err)
	}
	return f, err
}

// address is the one that rr gives a host, or why it gives none.
func address(rr dns.RR) (netip.Addr, string) {
	if rr.Header().Class != dns.ClassINET {
		return netip.Addr{}, "not of class IN"
	}
	switch rr := rr.(type) {
	case *dns.A:
		addr, _ := netip.AddrFromSlice(rr.A.To4())
		return addr, ""
	case *dns.AAAA:
		addr, _ := netip.AddrFromSlice(rr.AAAA.To16())
		if addr.Is4In6() {
			return addr, "an IPv4 address in AAAA"
		}
		return addr, ""
	}
	return netip.Addr{}, "only A and AAAA make hosts"
}

func (f *hostsFile) leave(rr dns.RR, why string) {
	header := rr.Header()
	what := header.Name + " " + dns.TypeToString[header.Rrtype]
	switch rr.(type) {
	case *dns.A, *dns.AAAA:
		what += " " + strings.TrimPrefix(rr.String(), header.String())
	}
	f.leftOut = append(f.leftOut, what+": "+why)
}
