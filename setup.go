// Package ddns is a CoreDNS plugin that runs a dynamic DNS service: it answers A
// and AAAA of hosts out of memory and takes their changes over a
// token-authenticated HTTPS listener.
//
// The package only wires and answers; what it wires is below plugin and in
// updateapi.
package ddns

import (
	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	clog "github.com/coredns/coredns/plugin/pkg/log"
)

var log = clog.NewWithPlugin("ddns")

func init() { plugin.Register("ddns", setup) }

// setup reads a block of the Corefile. Nothing is opened here: a Corefile that
// turns out to be wrong further down leaves no trace.
func setup(c *caddy.Controller) error {
	cfg, err := parse(c)
	if err != nil {
		return plugin.Error("ddns", err)
	}
	server := dnsserver.GetConfig(c)
	b := &block{config: cfg, handler: &DDNS{fall: cfg.fall}, server: server}
	n := nodeOf(c)
	if err := n.add(b); err != nil {
		return plugin.Error("ddns", c.Err(err.Error()))
	}
	server.AddPlugin(func(next plugin.Handler) plugin.Handler {
		b.handler.Next = next
		return b.handler
	})
	return nil
}

// nodeKey finds an instance's node in its storage.
type nodeKey struct{}

// nodeOf is the node of the instance that c belongs to. The first block makes
// it and hooks it up.
func nodeOf(c *caddy.Controller) *node {
	if n, ok := c.Get(nodeKey{}).(*node); ok {
		return n
	}
	n := &node{}
	c.Set(nodeKey{}, n)
	hook()
	c.OnStartup(n.prepare)
	c.OnRestartFailed(letGo)
	watchOthers()
	c.OnShutdown(n.close)
	return n
}

// hook has started called. Every instance asks for it, because SIGUSR1 forgets
// all hooks and the *reload* plugin does not; to register one that is still
// there is a panic, and caddy does not tell whether it is.
func hook() {
	defer func() { _ = recover() }()
	caddy.RegisterEventHook("ddns", started)
}

// watchOthers has letGo called when this reload fails. That is told to the
// instance that goes on, whose Corefile may be without ddns.
func watchOthers() {
	for _, i := range caddy.Instances() {
		i.StorageMu.Lock()
		if _, known := i.Storage[nodeKey{}]; !known {
			i.Storage[nodeKey{}] = nil
			i.OnRestartFailed = append(i.OnRestartFailed, letGo)
		}
		i.StorageMu.Unlock()
	}
}

// started is called when all servers of an instance run: only now its update
// listeners speak for it.
func started(event caddy.EventName, info any) error {
	if event != caddy.InstanceStartupEvent {
		return nil
	}
	instance := info.(*caddy.Instance)
	instance.StorageMu.RLock()
	n, _ := instance.Storage[nodeKey{}].(*node)
	instance.StorageMu.RUnlock()
	if n != nil {
		n.serve()
	}
	return nil
}
