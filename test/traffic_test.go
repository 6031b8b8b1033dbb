package test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// traffic asks and updates without pause until it is stopped.
type traffic struct {
	done chan struct{}
	all  sync.WaitGroup

	queries, retries, updates atomic.Int64
	mu                        sync.Mutex
	errs                      []error
}

// startTraffic begins queries over UDP and TCP for what does not change, and
// updates over kept-alive connections and over a new one each, HTTP/1.1 and 2.
func startTraffic(t *testing.T, n *node) *traffic {
	t.Helper()
	f := &traffic{done: make(chan struct{})}
	token := n.token(t, "fixed.dyn.example.org")
	if r := n.get(t, token, "/nic/update?hostname=fixed.dyn.example.org&myip=192.0.2.1"); !strings.HasPrefix(r.body, "good") {
		t.Fatalf("update: %q", r.body)
	}
	for _, name := range []string{"fixed.dyn.example.org.", "any.whoami.example."} {
		for _, network := range []string{"udp", "tcp"} {
			f.forever(func() error { return f.resolve(n, network, name) })
		}
	}
	root := n.url(t)
	for i, r := range n.routers(t, 4) {
		f.forever(func() error {
			body, err := r.update(root)
			if err == nil && r.acked != r.sent {
				err = fmt.Errorf("update of %v: %q", r.names, body)
			}
			if i > 1 {
				r.client.CloseIdleConnections()
			}
			f.updates.Add(1)
			return err
		})
	}
	return f
}

// forever calls do again and again until the traffic is stopped.
func (f *traffic) forever(do func() error) {
	f.all.Go(func() {
		for {
			select {
			case <-f.done:
				return
			default:
			}
			if err := do(); err != nil {
				f.mu.Lock()
				f.errs = append(f.errs, err)
				f.mu.Unlock()
			}
		}
	})
}

// resolve asks for name. Over TCP it asks again, as resolvers do, when the
// connection ends without an answer: when CoreDNS reloads it closes those that
// it has just accepted, whatever plugin would answer. UDP loses nothing, for the
// socket stays.
func (f *traffic) resolve(n *node, network, name string) error {
	f.queries.Add(1)
	for try := 1; ; try++ {
		r, err := n.query(network, new(dns.Msg).SetQuestion(name, dns.TypeA))
		switch {
		case err == nil && (r.Rcode != dns.RcodeSuccess || len(r.Answer)+len(r.Extra) == 0):
			return fmt.Errorf("%s over %s: %v", name, network, r)
		case err == nil:
			return nil
		case network == "udp" || try == 3:
			return fmt.Errorf("%s over %s: %w", name, network, err)
		}
		f.retries.Add(1)
	}
}

// goOn waits until some more has been asked and updated.
func (f *traffic) goOn(t *testing.T, n *node) {
	t.Helper()
	queries, updates := f.queries.Load()+200, f.updates.Load()+20
	n.await(t, "more traffic", func() bool { return f.queries.Load() > queries && f.updates.Load() > updates })
}

// stop ends the traffic and reports whatever failed.
func (f *traffic) stop(t *testing.T) {
	t.Helper()
	close(f.done)
	f.all.Wait()
	for _, err := range f.errs[:min(5, len(f.errs))] {
		t.Error(err)
	}
	t.Logf("%d queries, %d asked again, %d updates, %d failed", f.queries.Load(), f.retries.Load(), f.updates.Load(), len(f.errs))
}
