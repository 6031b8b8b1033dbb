package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/updateapi"
)

// server speaks as much of the API, over HTTPS, as the commands need to be seen
// at work: it keeps hosts, answers what it is told to, and remembers requests.
type server struct {
	url, ca, tokenFile, token string

	mu       sync.Mutex
	hosts    map[string]updateapi.Host
	revision uint64
	ready    bool
	requests []string
	before   func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

// start runs a server, with the files that a server leaves, in a directory that
// becomes the current one.
func start(t *testing.T) *server {
	t.Helper()
	t.Chdir(t.TempDir())
	text, _ := token.Mint()
	s := &server{hosts: map[string]updateapi.Host{}, ready: true, token: text}
	listener := httptest.NewUnstartedServer(s)
	listener.EnableHTTP2 = true
	listener.StartTLS()
	t.Cleanup(listener.Close)
	s.url = listener.URL
	s.ca = write(t, "data/ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listener.Certificate().Raw})))
	s.tokenFile = write(t, "data/admin.token", text+"\n")
	return s
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// result is what a command line did.
type result struct {
	code     int
	out, err string
}

func (s *server) run(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t, "", map[string]string{"DDNS_URL": s.url}, args...)
}

func runWith(t *testing.T, in string, env map[string]string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var out, err bytes.Buffer
	code := run(ctx, args, &ctl{in: strings.NewReader(in), out: &out, err: &err, getenv: func(k string) string { return env[k] }})
	return result{code, out.String(), err.String()}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r.Method+" "+r.URL.Path)
	if s.before != nil && s.before(w, r) {
		return
	}
	if r.Header.Get("Authorization") != "Bearer "+s.token {
		refuse(w, http.StatusUnauthorized, "no such token")
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/v1/status", s.status)
	mux.HandleFunc("POST /api/v1/tokens", s.createToken)
	mux.HandleFunc("POST /api/v1/hosts", s.importHosts)
	mux.HandleFunc("GET /api/v1/hosts", s.listHosts)
	mux.HandleFunc("GET /api/v1/hosts/{name}", s.getHost)
	mux.HandleFunc("PUT /api/v1/hosts/{name}", s.putHost)
	mux.HandleFunc("DELETE /api/v1/hosts/{name}", s.deleteHost)
	mux.ServeHTTP(w, r)
}

func refuse(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(updateapi.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, updateapi.Status{Version: "v9", Ready: s.ready, Zones: []updateapi.ZoneStatus{{Zone: "dyn.example.org.", Ready: s.ready, Hosts: len(s.hosts)}}})
}

func (s *server) createToken(w http.ResponseWriter, r *http.Request) {
	var create updateapi.TokenCreate
	json.NewDecoder(r.Body).Decode(&create)
	text, secret := token.Mint()
	answer(w, http.StatusCreated, updateapi.TokenSecret{Token: updateapi.Token{ID: string(secret.ID), TokenCreate: create}, Secret: text})
}

// listHosts answers two hosts a page, and an empty page in between.
func (s *server) listHosts(w http.ResponseWriter, r *http.Request) {
	names := make([]string, 0, len(s.hosts))
	for name, h := range s.hosts {
		if origin := r.URL.Query().Get("zone"); origin != "" && origin != h.Zone {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	at, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	list := updateapi.HostList{Hosts: []updateapi.Host{}}
	if at%3 == 0 {
		for _, name := range names[at/3*2 : min(at/3*2+2, len(names))] {
			list.Hosts = append(list.Hosts, s.hosts[name])
		}
	}
	if at/3*2+2 < len(names) {
		list.Cursor = strconv.Itoa(at + 1)
	}
	answer(w, http.StatusOK, list)
}

func (s *server) put(name string, put updateapi.HostPut) (updateapi.Host, bool) {
	was, known := s.hosts[name]
	_, origin, _ := strings.Cut(name, ".")
	is := updateapi.Host{Name: name, Zone: origin, Revision: was.Revision, A: put.A, AAAA: put.AAAA, TTL: put.TTL, Offline: put.Offline, Wildcard: put.Wildcard, Note: put.Note}
	if is == was {
		return is, false
	}
	s.revision++
	is.Revision = s.revision
	s.hosts[name] = is
	return is, !known
}

func (s *server) importHosts(w http.ResponseWriter, r *http.Request) {
	var in updateapi.Import
	json.NewDecoder(r.Body).Decode(&in)
	var did updateapi.Imported
	for _, h := range in.Hosts {
		before := s.revision
		s.put(h.Name, h.HostPut)
		did.Changed += int(s.revision - before)
	}
	did.Unchanged = len(in.Hosts) - did.Changed
	answer(w, http.StatusOK, did)
}

func (s *server) getHost(w http.ResponseWriter, r *http.Request) {
	host, known := s.hosts[r.PathValue("name")]
	if !known {
		refuse(w, http.StatusNotFound, r.PathValue("name"))
		return
	}
	answer(w, http.StatusOK, host)
}

func (s *server) putHost(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if match := r.Header.Get("If-Match"); match != "" && match != strconv.Quote(strconv.FormatUint(s.hosts[name].Revision, 10)) {
		refuse(w, http.StatusPreconditionFailed, "changed meanwhile")
		return
	}
	var put updateapi.HostPut
	json.NewDecoder(r.Body).Decode(&put)
	is, created := s.put(name, put)
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	answer(w, status, is)
}

func (s *server) deleteHost(w http.ResponseWriter, r *http.Request) {
	if _, known := s.hosts[r.PathValue("name")]; !known {
		refuse(w, http.StatusNotFound, r.PathValue("name"))
		return
	}
	delete(s.hosts, r.PathValue("name"))
	w.WriteHeader(http.StatusNoContent)
}
