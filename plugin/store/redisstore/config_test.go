package redisstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		urls []string
		want string // Config.String, or a word of the error
		ok   bool
	}{
		{[]string{"redis://localhost"}, "redis://localhost:6379 db 0 prefix ddns:", true},
		{[]string{"redis://u:p@localhost:7000/3"}, "redis://localhost:7000 db 3 prefix ddns:", true},
		{[]string{"rediss://[::1]"}, "rediss://[::1]:6379 db 0 prefix ddns:", true},
		{[]string{"unix://:secret@/run/redis.sock?db=2"}, "unix:///run/redis.sock db 2 prefix ddns:", true},
		{[]string{"redis://b:1?master_name=m&addr=a:2"}, "redis://a:2,b:1?master_name=m db 0 prefix ddns:", true},
		{[]string{"redis://b:1?master_name=m", "redis://a:2/1"}, "redis://a:2,b:1?master_name=m db 1 prefix ddns:", true},
		{[]string{"redis://a:1", "redis://b:2"}, "redis://a:1,b:2?cluster=true db 0 prefix ddns:", true},
		{[]string{"redis://a?cluster=true"}, "redis://a:6379?cluster=true db 0 prefix ddns:", true},

		{nil, "no Redis URL", false},
		{[]string{""}, "unknown scheme", false},
		{[]string{"localhost:6379"}, "unknown scheme", false},
		{[]string{"http://u:secret@localhost"}, "unknown scheme", false},
		{[]string{"redis://"}, "no host", false},
		{[]string{"redis://u:sec/ret@localhost"}, "URL 1 is malformed", false},
		{[]string{"redis://u:secret@local host"}, "URL 1 is malformed", false},
		{[]string{"redis://localhost/zero"}, "database", false},
		{[]string{"redis://u:secret@localhost?pass=secret"}, `unknown parameter "pass"`, false},
		{[]string{"redis://localhost?cluster=perhaps"}, "true or false", false},
		{[]string{"redis://localhost?master_name=m&cluster=true"}, "one of master_name and cluster", false},
		{[]string{"redis://a", "redis://b/2"}, "a Cluster has no other", false},
		{[]string{"redis://a", "rediss://b"}, "URL 2 has another scheme", false},
		{[]string{"redis://u:secret@a", "redis://u:other@b"}, "URL 2: other credentials", false},
		{[]string{"unix:///a", "unix:///b"}, "one absolute path", false},
		{[]string{"unix://a"}, "one absolute path", false},
		{[]string{"unix:///a?cluster=true"}, "one server", false},
	} {
		got, err := Parse(c.urls...)
		if c.ok && (err != nil || got.String() != c.want) {
			t.Errorf("%q: %v, %v; want %s", c.urls, got, err, c.want)
		}
		if !c.ok && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q: %v; want an error with %q", c.urls, err, c.want)
		}
		shown := fmt.Sprintf("%v %+v %#v %v", got, got, got, err)
		if slices.ContainsFunc([]string{"sec", "ret", "other@"}, func(s string) bool { return strings.Contains(shown, s) }) {
			t.Errorf("%q: a password is shown: %s", c.urls, shown)
		}
	}
	c, err := Parse("redis://user:p%40ss@a", "redis://b")
	if err != nil || c.User != "user" || c.Password != "p@ss" {
		t.Errorf("%q, %q, %v; want the credentials of the first URL", c.User, c.Password, err)
	}
	for _, prefix := range []string{"a{b", "a b", "ä"} {
		c.Prefix = prefix
		if _, err := Open(t.Context(), c); err == nil {
			t.Errorf("prefix %q: want an error", prefix)
		}
	}
}
