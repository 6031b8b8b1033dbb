package test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

var aclLine = regexp.MustCompile(`(?m)^ +user (writer|edge) (.*)$`)

// README's ACLs let a node update, and another answer, and no more than that.
func TestReadmeACLs(t *testing.T) {
	t.Parallel()
	r := startRedis(t)
	rules := aclLine.FindAllStringSubmatch(readRepository(t, "README.md"), -1)
	if len(rules) != 2 {
		t.Fatalf("README has %d ACL lines, want one for writer and one for edge", len(rules))
	}
	for _, rule := range rules {
		words := strings.Fields(strings.ReplaceAll(rule[2], ">PASSWORD", ">secret-of-"+rule[1]))
		r.do(t, append([]string{"ACL", "SETUSER", rule[1]}, words...)...)
	}
	as := func(user, corefile string) string {
		return strings.Replace(onRedis(corefile, r), "redis "+r.url(), "redis "+r.url()+"\n\t\tredis_auth "+user+" {{dir}}/password", 1)
	}
	writer := newNode(t, as("writer", busy))
	writer.put(t, "password", "secret-of-writer\n")
	writer.keepSecret("secret-of-writer")
	writer.spawn(t)
	writer.await(t, "start", writer.started)
	writer.ctl(t, ctlDone, "store", "init")
	writer.await(t, "ready", func() bool { return writer.saysReady(t) })
	edge := newNode(t, as("edge", asEdge(busy)))
	edge.put(t, "password", "secret-of-edge\n")
	edge.keepSecret("secret-of-edge")
	edge.start(t)

	token := writer.token(t, "home.dyn.example.org")
	if got := writer.get(t, token, "/nic/update?hostname=home.dyn.example.org&myip=198.51.100.7"); got.body != "good 198.51.100.7\n" {
		t.Fatalf("%d %q", got.status, got.body)
	}
	edge.await(t, "the change at the edge", func() bool {
		return slices.Equal(edge.addresses(t, "home.dyn.example.org"), []string{"198.51.100.7"})
	})
	writer.ctl(t, ctlDone, "store", "check", "dyn.example.org")

	auth := []string{"--user", "edge", "--pass", "secret-of-edge", "--no-auth-warning"}
	for _, command := range [][]string{
		{"HSET", key("meta"), "revision", "9"}, {"DEL", key("meta")}, {"HGETALL", "ddns:{tokens}:meta"}, {"KEYS", "*"}, {"FLUSHALL"},
		{"EVAL", "return redis.call('DEL', KEYS[1])", "1", key("meta")},
	} {
		if said := r.ask(append(slices.Clone(auth), command...)...); !strings.Contains(said, "NOPERM") {
			t.Errorf("an edge may %v: %s", command, said)
		}
	}
}
