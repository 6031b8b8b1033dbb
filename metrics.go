package ddns

import (
	"time"

	"github.com/coredns/coredns/plugin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/coredns-ddns/ddns/plugin/index"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// outcome is what became of a question, as the metrics name it.
type outcome uint8

const (
	hit outcome = iota
	wildcard
	nodata
	nxdomain
	passedOn
	notReady
	outcomes
)

var outcomeNames = [outcomes]string{"hit", "wildcard", "nodata", "nxdomain", "fallthrough", "not_ready"}

var lookups = promauto.NewCounterVec(prometheus.CounterOpts{
	Namespace: plugin.Namespace, Subsystem: "ddns", Name: "lookups_total",
	Help: "Questions about dynamic zones, by zone and result.",
}, []string{"zone", "result"})

// lookupCounters finds a zone's counters once and for all.
func lookupCounters(origin zone.Name) (c [outcomes]prometheus.Counter) {
	for o := range c {
		c[o] = lookups.WithLabelValues(string(origin), outcomeNames[o])
	}
	return c
}

func (z *servedZone) count(o outcome) { z.counts[o].Inc() }

func outcomeOf(found index.Answer, answers int) outcome {
	switch {
	case found.Kind == index.None:
		return nxdomain
	case answers == 0:
		return nodata
	case found.Kind == index.Synthesized:
		return wildcard
	}
	return hit
}

// collector reads the gauges of the instance that serves now when it is asked
// for them.
type collector struct{}

var (
	hostsDesc = gauge("hosts", "Hosts in memory.", "zone")
	lagDesc   = gauge("replica_lag_seconds", "For how long the node may have been behind its store, 0 while it follows.", "zone")
	revDesc   = gauge("replica_revision", "Revision of the store that the node has applied last.", "zone")
	bytesDesc = gauge("index_bytes", "Memory that names and states take.", "zone")
	certDesc  = gauge("certificate_expiry_timestamp_seconds", "When the update listener's certificate ends.", "listener")
)

func gauge(name, help, label string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(plugin.Namespace, "ddns", name), help, []string{label}, nil)
}

func init() { prometheus.MustRegister(collector{}) }

// Describe implements prometheus.Collector.
func (collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{hostsDesc, lagDesc, revDesc, bytesDesc, certDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (collector) Collect(ch chan<- prometheus.Metric) {
	n := serving.Load()
	if n == nil {
		return
	}
	now := time.Now()
	send := func(d *prometheus.Desc, v float64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, label)
	}
	seen := make(map[string]bool)
	for _, b := range n.blocks {
		for origin, z := range b.handler.zones {
			if seen[origin] {
				continue // the same zone on another listener or view
			}
			seen[origin] = true
			lag, _ := z.copy.Lag(now)
			send(hostsDesc, float64(z.copy.Hosts()), origin)
			send(lagDesc, lag.Seconds(), origin)
			send(revDesc, float64(z.copy.Revision()), origin)
			if x := z.copy.Index(); x != nil {
				send(bytesDesc, float64(x.Bytes()), origin)
			}
		}
	}
	for _, l := range n.listeners {
		if end := l.certificateEnd(); !end.IsZero() {
			send(certDesc, float64(end.Unix()), l.addr)
		}
	}
}
