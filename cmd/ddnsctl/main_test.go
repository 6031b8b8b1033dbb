package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/updateapi"
)

func TestWrongUsageIsCode2AndReachesNoServer(t *testing.T) {
	s := start(t)
	write(t, "hosts.jsonl", `{"name":"a.dyn.example.org"}`)
	for intent, line := range map[string]string{
		"no such command":              "tokens",
		"no such command in a group":   "token make",
		"a group alone":                "token",
		"no such flag":                 "status --token x",
		"no name":                      "token create",
		"another format":               "-o yaml status",
		"an expiry of no sense":        "token create a.example --expires tomorrow",
		"an expiry gone by":            "token create a.example --expires 2001-01-01",
		"a negative expiry":            "token create a.example --expires -5h",
		"a source that is no prefix":   "token create a.example --source lan",
		"nothing to set":               "host set a.example",
		"IPv6 for A":                   "host set a.example --a 2001:db8::1",
		"IPv4 for AAAA":                "host set a.example --aaaa 192.0.2.1",
		"both an address and none":     "host set a.example --a 192.0.2.1 --no-a",
		"a TTL of no sense":            "host set a.example --ttl -1",
		"a name that cannot be one":    "host show a..example",
		"an origin that cannot be one": "host list --zone a..example",
		"an import format of no sense": "import hosts.jsonl --format csv",
		"an origin for JSON lines":     "import hosts.jsonl --zone dyn.example.org",
		"going on from standard input": "import - --resume",
		"a wait that is none":          "status --wait soon",
		"a negative overlap":           "token rotate abc123 --overlap -1h",
		"two files for one":            "backup a b",
		"an import without a file":     "import",
		"a negative wait":              "status --wait -1s",
	} {
		t.Run(intent, func(t *testing.T) {
			if got := s.run(t, strings.Fields(line)...); got.code != exitUsage || got.out != "" || !strings.Contains(got.err, "--help") {
				t.Errorf("%s: %+v", line, got)
			}
		})
	}
	if len(s.requests) > 0 {
		t.Errorf("the server was asked: %q", s.requests)
	}
}

func TestExitCodesTellWhatIsWrong(t *testing.T) {
	s := start(t)
	other, _ := token.Mint()
	closed := closedPort(t)
	answering := func(status int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, status, "because")
			return true
		}
	}
	plain404 := func(w http.ResponseWriter, r *http.Request) bool { http.NotFound(w, r); return true }
	for intent, c := range map[string]struct {
		env    map[string]string
		args   string
		before func(http.ResponseWriter, *http.Request) bool
		code   int
		says   string
	}{
		"done":                        {args: "status", code: exitDone},
		"help":                        {args: "--help", code: exitDone},
		"no such host":                {args: "host show gone.dyn.example.org", code: exitNotFound, says: "gone.dyn.example.org."},
		"another server's not found":  {args: "host show a.dyn.example.org", before: plain404, code: exitFailed, says: "not a reply of this API"},
		"a wrong token":               {env: map[string]string{"DDNS_TOKEN": other}, args: "status", code: exitForbidden, says: "DDNS_TOKEN"},
		"a token that may not":        {args: "status", before: answering(403), code: exitForbidden, says: "data/admin.token"},
		"refused for its content":     {args: "status", before: answering(422), code: exitFailed, says: "because"},
		"the server fails":            {args: "status", before: answering(500), code: exitFailed},
		"the store is away":           {args: "status", before: answering(503), code: exitUnavailable},
		"no server there":             {args: "status --url " + closed, code: exitUnavailable, says: "Is the server running"},
		"an authority not trusted":    {args: "status --ca other.pem", code: exitFailed, says: "other.pem"},
		"a CA that is none":           {args: "status --ca data/admin.token", code: exitFailed, says: "no certificate in PEM"},
		"a CA that is missing":        {args: "status --ca nowhere.pem", code: exitFailed, says: "nowhere.pem"},
		"a token file that is empty":  {args: "status --token-file empty", code: exitFailed, says: "empty"},
		"a token file with two words": {args: "status --token-file other.pem", code: exitFailed, says: "one word"},
		"a URL that is none":          {args: "status --url localhost:8443", code: exitFailed, says: "https://HOST:PORT"},
		"a token in the clear":        {args: "status --url http://192.0.2.1:8080", code: exitFailed, says: "want https"},
	} {
		t.Run(intent, func(t *testing.T) {
			write(t, "other.pem", otherCA(t))
			write(t, "empty", "\n")
			s.before = c.before
			env := map[string]string{"DDNS_URL": s.url}
			for k, v := range c.env {
				env[k] = v
			}
			got := runWith(t, "", env, strings.Fields(c.args)...)
			if got.code != c.code || !strings.Contains(got.err, c.says) {
				t.Errorf("%s: %+v, want code %d and %q", c.args, got, c.code, c.says)
			}
			if strings.Contains(got.out+got.err, s.token) || strings.Contains(got.out+got.err, other) {
				t.Errorf("a token was printed: %+v", got)
			}
		})
	}
}

func TestNoTokenIsNotAllowed(t *testing.T) {
	t.Chdir(t.TempDir())
	if got := runWith(t, "", nil, "status"); got.code != exitForbidden || !strings.Contains(got.err, "DDNS_TOKEN") {
		t.Errorf("%+v", got)
	}
}

func TestAFlagGoesBeforeTheEnvironment(t *testing.T) {
	s := start(t)
	other, _ := token.Mint()
	env := map[string]string{"DDNS_URL": "https://localhost:1", "DDNS_TOKEN": other, "DDNS_CA": "nowhere"}
	if got := runWith(t, "", env, "--url", s.url, "--ca", s.ca, "--token-file", s.tokenFile, "status"); got.code != exitDone {
		t.Errorf("%+v", got)
	}
}

func TestTokenCreatePrintsTheTokenAloneToBeCaptured(t *testing.T) {
	s := start(t)
	got := s.run(t, "token", "create", "home.dyn.example.org", "*.lan.dyn.example.org", "--type", "A,AAAA", "--quota", "3",
		"--source", "192.0.2.7", "--source", "2001:db8::/32", "--expires", "90d", "--note", "router")
	if got.code != exitDone || strings.Count(got.out, "\n") != 1 {
		t.Fatalf("%+v", got)
	}
	secret, err := token.Parse(strings.TrimSpace(got.out))
	if err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	if !strings.Contains(got.err, string(secret.ID)) || strings.Contains(got.err, strings.TrimSpace(got.out)) {
		t.Errorf("standard error wants the ID and not the token: %q", got.err)
	}
}

func TestTokenCreateSendsWhatWasAskedFor(t *testing.T) {
	s := start(t)
	got := s.run(t, "-o", "json", "token", "create", "home.dyn.example.org", "--type", "AAAA", "--quota", "3",
		"--source", "192.0.2.7", "--expires", "2100-01-31T12:00:00Z", "--note", "router")
	var made updateapi.TokenSecret
	if err := json.Unmarshal([]byte(got.out), &made); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	want := `{"names":["home.dyn.example.org"],"types":["AAAA"],"quota":3,"sources":["192.0.2.7/32"],"expires":"2100-01-31T12:00:00Z","note":"router"}`
	if text, _ := json.Marshal(made.TokenCreate); string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if _, err := token.Parse(made.Secret); err != nil {
		t.Error(err)
	}
}

func TestExpiries(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                          {},
		"90d":                       now.AddDate(0, 0, 90),
		"12h":                       now.Add(12 * time.Hour),
		"2027-01-31":                time.Date(2027, 1, 31, 0, 0, 0, 0, time.Local),
		"2027-01-31T12:00:00+02:00": time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC),
	} {
		if got, err := parseExpiry(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestStatusIsCode5WhileNotReady(t *testing.T) {
	s := start(t)
	s.ready = false
	got := s.run(t, "status")
	if got.code != exitUnavailable || !strings.Contains(got.out, "dyn.example.org.") || !strings.Contains(got.err, "not ready") {
		t.Errorf("%+v", got)
	}
}

func TestStatusWaitsForAServerThatIsStarting(t *testing.T) {
	s := start(t)
	if err := os.Rename("data", "later"); err != nil { // neither token nor CA are there yet
		t.Fatal(err)
	}
	s.ready = false
	asked := 0
	s.before = func(w http.ResponseWriter, r *http.Request) bool {
		asked++
		s.ready = asked > 2
		return false
	}
	time.AfterFunc(2*statusEvery, func() { os.Rename("later", "data") })
	if got := s.run(t, "status", "--wait", "30s"); got.code != exitDone || asked < 3 {
		t.Errorf("asked %d times: %+v", asked, got)
	}
}

func TestStatusDoesNotWaitWhereThatIsInVain(t *testing.T) {
	s := start(t)
	other, _ := token.Mint()
	got := runWith(t, "", map[string]string{"DDNS_URL": s.url, "DDNS_TOKEN": other}, "status", "--wait", "10m")
	if got.code != exitForbidden || len(s.requests) != 1 {
		t.Errorf("%+v, %q", got, s.requests)
	}
}

func TestCompletionForShells(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := runWith(t, "", nil, "completion", shell); got.code != exitDone || !strings.Contains(got.out, "ddnsctl") {
			t.Errorf("%s: code %d, %d bytes, %q", shell, got.code, len(got.out), got.err)
		}
	}
}

// otherCA is the certificate of an authority that signed nothing here.
func otherCA(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}
