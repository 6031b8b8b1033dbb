package test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/coredns-ddns/ddns/updateapi"
)

// measured is proxied with metrics and all logs on.
var measured = strings.Replace(proxied, "\terrors\n", "\terrors\n\tlog\n\tdebug\n\tprometheus 127.0.0.1:{{metrics}}\n", 1)

// metrics are what prometheus would scrape.
func (n *node) metrics(t testing.TB) string {
	t.Helper()
	res, err := http.Get("http://" + n.addr(t, "metrics") + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A token is in the reply that mints it and nowhere else, wherever callers put
// it and however it was spelled.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	n := boot(t, measured)
	right, admin := n.token(t, "home.dyn.example.org"), n.adminToken(t)
	revoked := n.token(t, "home.dyn.example.org")
	n.api(t, "DELETE", "/tokens/"+revoked[5:11], admin, nil, 204, nil)
	unknown := "ddns_AAAAAA_" + strings.Repeat("Zy9", 9) + "Q"
	var replies strings.Builder
	d := device{n: n}
	for _, secret := range []string{right, admin, revoked, unknown, right[:30]} {
		n.keepSecret(secret)
		bearer, quoted := "Bearer "+secret, url.QueryEscape(secret)
		for _, c := range []struct{ method, path, authorization, body string }{
			{"GET", "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7", basic("home", secret), ""},
			{"GET", "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7", bearer, ""},
			{"GET", "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7", "Token " + secret, ""},
			{"GET", "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7", secret, ""},
			{"GET", "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7", basic(secret, secret), ""},
			{"GET", "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7&token=" + quoted, "", ""},
			{"GET", "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7&username=x&password=" + quoted, "", ""},
			{"GET", "/nic/update?hostname=" + quoted + ".dyn.example.org&myip=" + quoted, basic("", right), ""},
			{"GET", "/nic/update?hostname=" + quoted + "&token=" + quoted, "", ""},
			{"POST", "/nic/update", "", "hostname=home.dyn.example.org&token=" + quoted},
			{"GET", "/nic/update/" + quoted, "", ""},
			{"GET", "//nic/update?token=" + quoted, "", ""},
			{"GET", "/v2/../nic/./update?token=" + quoted, "", ""},
			{"GET", "/nic/update/?token=" + quoted, "", ""},
			{"GET", "/api/v1?token=" + quoted, "", ""},
			{"GET", "/" + quoted, "", ""},
			{"GET", "/api/v1/" + quoted, "", ""},
			{"GET", "/api/v1/status?token=" + quoted, bearer, ""},
			{"GET", "/api/v1/hosts/" + quoted + ".dyn.example.org", "Bearer " + right, ""},
			{"GET", "/api/v1/hosts/" + quoted + "%21", "Bearer " + right, ""},
			{"GET", "/api/v1/hosts?limit=" + quoted, "Bearer " + right, ""},
			{"GET", "/api/v1/hosts?cursor=" + quoted, "Bearer " + right, ""},
			{"PUT", "/api/v1/hosts/home.dyn.example.org", "Bearer " + right, `{"` + secret + `":1}`},
			{"PUT", "/api/v1/hosts/home.dyn.example.org", "Bearer " + right, `{"a":"` + secret + `"}`},
			{"DELETE", "/api/v1/tokens/" + quoted, bearer, ""},
			{"POST", "/api/v1/tokens", bearer, `{"names":["` + secret + `"]}`},
			{"GET", "/api/v1/whoami", bearer, ""},
		} {
			req := d.request(t, c.method, c.path, c.body)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			if c.authorization != "" {
				req.Header.Set("Authorization", c.authorization)
			}
			res, err := n.client(t).Transport.RoundTrip(req) // no redirect is followed
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			res.Body.Close()
			fmt.Fprintf(&replies, "%s %s: %d %v %s\n", c.method, strings.ReplaceAll(c.path, secret, "SECRET"), res.StatusCode, res.Header, body)
		}
	}
	n.waitLog(t, `refused .*token=`+right[5:11])
	n.waitLog(t, `changed host=home\.dyn\.example\.org\. token=`+right[5:11]+` client=127\.0\.0\.1`)
	said, counted := replies.String()+n.metrics(t), n.out.String()
	for _, secret := range n.secrets {
		for intent, text := range map[string]string{"a reply or a metric": said, "the log": counted} {
			for _, spelled := range []string{secret, secret[12:], strings.ToLower(secret)} { // 12: after the id
				if at := strings.Index(text, spelled); at >= 0 {
					line := text[strings.LastIndexByte(text[:at], '\n')+1:]
					line, _, _ = strings.Cut(line, "\n")
					t.Errorf("%s holds a secret: %s", intent, strings.ReplaceAll(line, spelled, "SECRET"))
				}
			}
		}
	}
	if b, err := os.ReadFile(n.path("ddns.db")); err != nil || strings.Contains(string(b), right[12:]) {
		t.Errorf("the database holds a secret, or %v", err)
	}
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	n := boot(t, strings.Replace(measured, "rate 1000000/1s", "rate 6/24h", 1))
	d := device{n: n, token: n.token(t, "*.home.dyn.example.org")}
	n.api(t, "PUT", homePath, n.adminToken(t), updateapi.HostPut{A: "198.51.100.7", Wildcard: true}, 201, nil)
	for query, want := range map[string]string{
		"hostname=a.home.dyn.example.org,b.home.dyn.example.org&myip=198.51.100.7":                 "good 198.51.100.7\ngood 198.51.100.7\n",
		"hostname=x.dyn.example.org,y.dyn.example.org,z.dyn.example.org&myip=198.51.100.7":         "nohost\nnohost\nnohost\n",
		"hostname=a.home.dyn.example.org,b.home.dyn.example.org,c.home.dyn.example.org&myip=home.": "dnserr\ndnserr\ndnserr\n",
	} {
		if r := d.update(t, query); r.body != want {
			t.Errorf("%s: %d %q", query, r.status, r.body)
		}
	}
	for range 4 {
		d.update(t, "hostname=a.home.dyn.example.org&myip=198.51.100.7")
	}
	device{n: n, token: "wrong"}.update(t, "hostname=a.home.dyn.example.org")
	device{n: n}.update(t, "hostname=a.home.dyn.example.org")
	n.call(t, "GET", "/whoami", "wrong", "")
	for range 2 {
		n.dig(t, "a.home.dyn.example.org", dns.TypeA)
		n.dig(t, "a.home.dyn.example.org", dns.TypeAAAA)
		n.dig(t, "w.home.dyn.example.org", dns.TypeA)
		n.dig(t, "nothing.dyn.example.org", dns.TypeA)
	}
	text := n.metrics(t)
	for _, want := range []string{
		`updates_total{dialect="dyndns2",result="good"} 2`,
		`updates_total{dialect="dyndns2",result="nochg"} 3`,
		`updates_total{dialect="dyndns2",result="nohost"} 3`,
		`updates_total{dialect="dyndns2",result="dnserr"} 3`,
		`updates_total{dialect="rest",result="good"} 1`,
		`auth_failures_total{dialect="dyndns2",reason="bad_token"} 1`,
		`auth_failures_total{dialect="dyndns2",reason="throttled"} 1`,
		`auth_failures_total{dialect="rest",reason="bad_token"} 1`,
		`store_update_duration_seconds_count 5`,
		`lookups_total{result="hit",zone="dyn.example.org."} 2`,
		`lookups_total{result="nodata",zone="dyn.example.org."} 2`,
		`lookups_total{result="wildcard",zone="dyn.example.org."} 2`,
		`lookups_total{result="nxdomain",zone="dyn.example.org."} 2`,
		`lookups_total{result="not_ready",zone="dyn.example.org."} 0`,
		`hosts{zone="dyn.example.org."} 3`,
		`replica_revision{zone="dyn.example.org."} 2`,
		`replica_lag_seconds{zone="dyn.example.org."} 0`,
	} {
		if !strings.Contains(text, "\ncoredns_ddns_"+want+"\n") {
			t.Errorf("no coredns_ddns_%s", want)
		}
	}
	for _, pattern := range []string{`index_bytes\{zone="dyn.example.org."\} [1-9]`, `certificate_expiry_timestamp_seconds\{listener="127.0.0.1:\d+"\} [1-9]`} {
		if !regexp.MustCompile(`\ncoredns_ddns_` + pattern).MatchString(text) {
			t.Errorf("no coredns_ddns_%s", pattern)
		}
	}
	if t.Failed() {
		for _, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "coredns_ddns_") {
				t.Log(line)
			}
		}
	}
}
