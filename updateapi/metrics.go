package updateapi

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The metrics of the update listener, in the registry that CoreDNS's prometheus
// plugin serves.
var (
	updates = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: "coredns", Subsystem: "ddns", Name: "updates_total",
		Help: "Hosts that requests asked to change, by dialect and result.",
	}, []string{"dialect", "result"})
	authFailures = promauto.NewCounterVec(prometheus.CounterOpts{
		Namespace: "coredns", Subsystem: "ddns", Name: "auth_failures_total",
		Help: "Requests turned away before any host was looked at, by dialect and reason.",
	}, []string{"dialect", "reason"})
	storeLatency = promauto.NewHistogram(prometheus.HistogramOpts{
		Namespace: "coredns", Subsystem: "ddns", Name: "store_update_duration_seconds",
		Help:    "How long the store took to commit an update.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 15),
	})
)

// outcomeLabel is the result of one host's edit as the metrics name it.
func outcomeLabel(err error) string {
	if err == nil {
		return "nochg"
	}
	return replyTo(err).word
}

// failureLabel is why a caller was turned away, as the metrics name it.
func failureLabel(err error) string {
	switch {
	case errors.As(err, new(throttled)):
		return "throttled"
	case errors.Is(err, errNotReady), errors.Is(err, errTokens):
		return "not_ready"
	}
	return "bad_token"
}
