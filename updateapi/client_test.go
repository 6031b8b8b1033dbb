package updateapi

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// clientOf is a Client with a fresh token, of a server that answers as told.
func clientOf(t *testing.T, answer http.HandlerFunc) (client *Client, text string) {
	t.Helper()
	server := httptest.NewTLSServer(answer)
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	text, _ = token.Mint()
	client, err := NewClient(server.URL+"/", text, roots)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, text
}

func TestClientTellsTheServersNoFromAStrangers(t *testing.T) {
	const problem = `{"type":"about:blank","title":"Forbidden","status":403,"detail":"not yours"}`
	for intent, c := range map[string]struct {
		status int
		kind   string
		body   string
		want   int // a Problem's status; 0: ErrReply
	}{
		"a problem":                    {403, "application/problem+json; charset=utf-8", problem, 403},
		"another API's JSON":           {403, "application/json", problem, 0},
		"another server's page":        {404, "text/html", "<h1>not here", 0},
		"a proxy without its server":   {502, "text/html", "<h1>bad gateway", 502},
		"a redirect, with the token":   {302, "text/html", "", 0},
		"a page for an answer":         {200, "text/html", "<h1>welcome", 0},
		"an answer that is broken off": {200, "application/json", `{"version":`, 0},
	} {
		t.Run(intent, func(t *testing.T) {
			asked := 0
			client, text := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				asked++
				w.Header().Set("Content-Type", c.kind)
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			_, err := client.Status(t.Context())
			problem, said := errors.AsType[*Problem](err)
			if said != (c.want != 0) || said && problem.Status != c.want || !said && !errors.Is(err, ErrReply) {
				t.Errorf("%v", err)
			}
			if asked != 1 || strings.Contains(err.Error(), text) {
				t.Errorf("asked %d times: %v", asked, err)
			}
		})
	}
}

func TestClientSendsOnlyTheIDOfAToken(t *testing.T) {
	var path string
	client, _ := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		w.WriteHeader(http.StatusNoContent)
	})
	text, secret := token.Mint()
	for _, id := range []string{text, string(secret.ID)} {
		if err := client.RevokeToken(t.Context(), id); err != nil || path != "/api/v1/tokens/"+string(secret.ID) {
			t.Errorf("%v, %s", err, path)
		}
	}
}

func TestClientNamesTheRevisionThatItReplaces(t *testing.T) {
	var header http.Header
	client, _ := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		header = r.Header
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, "{}")
	})
	for revision, want := range map[uint64]string{7: `"7"`, 0: `"0"`, AnyRevision: ""} {
		_, created, err := client.PutHost(t.Context(), "Home.dyn.example.org", HostPut{}, revision)
		if got := header.Get("If-Match"); err != nil || !created || got != want {
			t.Errorf("%d: %q, %v", revision, got, err)
		}
	}
	if _, err := client.Host(t.Context(), "../tokens"); !errors.Is(err, zone.ErrName) {
		t.Errorf("a name that leads elsewhere: %v", err)
	}
}

func TestClientIsPatientOnlyWhenTold(t *testing.T) {
	refused, sent := 0, ""
	client, _ := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		if refused < 2 {
			refused++
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		body, _ := io.ReadAll(r.Body)
		sent = string(body)
		io.WriteString(w, "{}")
	})
	if _, err := client.Import(t.Context(), nil); err == nil || refused != 1 {
		t.Errorf("refused %d times: %v", refused, err)
	}
	if _, err := client.Patient(time.Minute).Import(t.Context(), []ImportHost{{Name: "a.example."}}); err != nil || refused != 2 || !strings.Contains(sent, "a.example.") {
		t.Errorf("refused %d times, then %q: %v", refused, sent, err)
	}
}

func TestClientDoesNotWaitLongerThanItsPatience(t *testing.T) {
	asked := 0
	client, _ := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	if _, err := client.Patient(time.Minute).Status(t.Context()); err == nil || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

func TestClientNoticesThatABackupIsNotWhole(t *testing.T) {
	for intent, respond := range map[string]string{
		"chunks without an end":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
		"less than Content-Length":    "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf",
		"an end that nobody can tell": "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nwhole or half?",
	} {
		t.Run(intent, func(t *testing.T) {
			client, _ := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
				conn, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(conn, respond)
				conn.Close()
			})
			var got bytes.Buffer
			if n, err := client.Backup(t.Context(), "", &got); err == nil {
				t.Errorf("%d bytes for a backup: %q", n, got.String())
			}
		})
	}
}

func TestClientGivesUpWithItsCaller(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	client, _ := clientOf(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := client.Status(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

func TestClientTakesPlainHTTPOnLoopbackOnly(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://dyn.example.org": true, "https://192.0.2.1:8443": true, "http://localhost:8080": true,
		"http://127.0.0.1": true, "http://[::1]:80": true, "http://192.0.2.1": false, "http://localhost.example": false,
		"localhost:8443": false, "https://": false, "ftp://localhost": false, "https://user:secret@localhost": false, "": false,
	} {
		_, err := NewClient(url, "x", nil)
		if (err == nil) != ok || err != nil && (!errors.Is(err, ErrClient) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := NewClient("https://localhost", "two words", nil); !errors.Is(err, ErrClient) || strings.Contains(err.Error(), "words") {
		t.Errorf("%v", err)
	}
}
