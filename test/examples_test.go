package test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// example makes a node of a Corefile in examples/. Each address of there that
// goes is replaced, as is whatever lies in its directories.
func example(t *testing.T, name string, addresses map[string]string) *node {
	t.Helper()
	corefile := readRepository(t, filepath.Join("examples", name))
	stand := map[string]string{} // for relocate to leave alone
	for from, to := range addresses {
		if !strings.Contains(corefile, from) {
			t.Fatalf("%s has no %s", name, from)
		}
		word := "server-" + strconv.Itoa(len(stand)) + "-of-the-test"
		corefile, stand[word] = strings.ReplaceAll(corefile, from, word), to
	}
	corefile = strings.NewReplacer("/etc/ddns/", "{{dir}}/", "/var/lib/ddns/", "{{dir}}/", "update.example.net:443", "127.0.0.1:443 localhost").Replace(corefile)
	corefile = relocate(t, corefile)
	for word, to := range stand {
		corefile = strings.ReplaceAll(corefile, word, to)
	}
	n := newNode(t, corefile)
	n.put(t, "redis.password", "s3cret\n")
	n.keepSecret("s3cret")
	n.certificate(t, "cert.pem", "key.pem")
	n.put(t, "ca.pem", n.read(t, "cert.pem"))
	return n
}

// users makes the users of README in servers, with the examples' password.
func users(t *testing.T, servers ...*redisServer) {
	t.Helper()
	for _, rule := range aclLine.FindAllStringSubmatch(readRepository(t, "README.md"), -1) {
		user := strings.Replace(rule[1], "writer", "ddns", 1)
		words := strings.Fields(strings.ReplaceAll(rule[2], ">PASSWORD", ">s3cret"))
		for _, r := range servers {
			r.do(t, append([]string{"ACL", "SETUSER", user}, words...)...)
		}
	}
}

// initialised starts n, makes its zones, and has it answer an update.
func (n *node) initialised(t *testing.T) {
	t.Helper()
	n.spawn(t)
	n.await(t, "start", n.started)
	n.ctl(t, ctlDone, "store", "init")
	n.await(t, "ready", func() bool { return n.saysReady(t) })
	secret := n.token(t, "home.dyn.example.org")
	const public = "198.41.0.4"
	if r := n.get(t, secret, "/nic/update?hostname=home.dyn.example.org&myip="+public); r.body != "good "+public+"\n" {
		t.Errorf("update: %d %q", r.status, r.body)
	}
	n.await(t, "answer", func() bool { return slices.Equal(n.addresses(t, "home.dyn.example.org"), []string{public}) })
}

func TestExamplesOfOneRedisAndTheEdge(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, keyFile := filepath.Join(dir, "redis.pem"), filepath.Join(dir, "redis-key.pem")
	(&node{dir: dir}).certificate(t, cert, keyFile)
	ca, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	secure := redisPort(t)
	r := startRedis(t, "--tls-port", strconv.Itoa(secure), "--tls-cert-file", cert, "--tls-key-file", keyFile, "--tls-auth-clients", "no")
	users(t, r)
	servers := map[string]string{"redis.example.net:6380": net.JoinHostPort("localhost", strconv.Itoa(secure))}

	n, edge := example(t, "redis.corefile", servers), example(t, "edge.corefile", servers)
	for _, n := range []*node{n, edge} {
		n.put(t, "redis-ca.pem", string(ca))
	}
	n.initialised(t)
	edge.start(t)
	f := &fleet{r, []*node{n, edge}}
	f.answers(t, "home.dyn.example.org", "198.41.0.4")
	f.equal(t)
}

func TestExampleOfSentinel(t *testing.T) {
	t.Parallel()
	primary, replicas, sentinels := startSentinels(t)
	users(t, append(replicas, primary)...)
	n := example(t, "sentinel.corefile", map[string]string{
		"sentinel1.example.net:26379": sentinels[0].addr(),
		"sentinel2.example.net:26379": sentinels[1].addr(),
		"sentinel3.example.net:26379": sentinels[2].addr(),
	})
	n.initialised(t)
	for _, r := range replicas {
		(&fleet{r, []*node{n}}).equal(t) // wait 2 means that it has come to both
	}
}

func TestExampleOfCluster(t *testing.T) {
	t.Parallel()
	servers := startCluster(t)
	users(t, servers...)
	n := example(t, "cluster.corefile", map[string]string{
		"redis1.example.net:6379": servers[0].addr(),
		"redis2.example.net:6379": servers[1].addr(),
		"redis3.example.net:6379": servers[2].addr(),
	})
	n.initialised(t)
	n.ctl(t, ctlDone, "store", "check", "dyn.example.org")
	n.ctl(t, ctlDone, "store", "check", "dyn.example.com")
}
