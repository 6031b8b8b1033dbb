package updateapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

// Listener serves HTTP or HTTPS on one address for as long as the process wants
// it. What it serves, with which certificates and to whom, can be replaced at
// any time: connections and requests under way end as they began.
type Listener struct {
	net.Listener
	Limits Limits // of all Servers that it ever serves
	http   *http.Server
	failed func(error)
	now    atomic.Pointer[Served]
}

// Served is what a Listener serves.
type Served struct {
	Handler http.Handler
	TLS     *tls.Config    // nil: plain HTTP
	Peers   []netip.Prefix // who may connect; none: anybody

	active atomic.Int64 // requests under way
}

// serve handles one request, unless s has been replaced meanwhile.
func (s *Served) serve(now *atomic.Pointer[Served], w http.ResponseWriter, r *http.Request) bool {
	s.active.Add(1)
	defer s.active.Add(-1)
	if now.Load() != s {
		return false // Drain may not have seen this one
	}
	s.Handler.ServeHTTP(w, r)
	return true
}

// Drain waits for the requests under way, for a while. Call it when s is
// replaced or its Listener is closed.
func (s *Served) Drain() {
	if s == nil {
		return
	}
	for end := time.Now().Add(closeTimeout); s.active.Load() > 0 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 30 * time.Second
	replyTimeout   = requestTimeout + 5*time.Second // so that who is too slow is told so
	idleTimeout    = 120 * time.Second
	closeTimeout   = 5 * time.Second
)

// NewListener takes ln over. Nothing is accepted before Use. failed is told when
// connections cannot be accepted.
func NewListener(ln net.Listener, failed func(error)) *Listener {
	l := &Listener{Listener: ln, failed: failed}
	l.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for !l.now.Load().serve(&l.now, w, r) {
			}
		}),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      replyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// Handshakes that fail are the clients' business, and many.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return l
}

// Use serves s from now on.
func (l *Listener) Use(s *Served) {
	if l.now.Swap(s) == nil {
		go func() {
			if err := l.http.Serve(acceptor{l}); !errors.Is(err, http.ErrServerClosed) {
				l.failed(err)
			}
		}()
	}
}

// Close stops accepting and lets requests under way finish for a while.
func (l *Listener) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := l.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = l.http.Close()
	}
	// A Listener that was never used is not the server's to close.
	if cerr := l.Listener.Close(); !errors.Is(cerr, net.ErrClosed) {
		err = errors.Join(err, cerr)
	}
	return err
}

// acceptor hands connections to the HTTP server as Served has it now.
type acceptor struct{ *Listener }

// Close closes the socket alone: the HTTP server calls it from its own Shutdown.
func (a acceptor) Close() error { return a.Listener.Listener.Close() }

func (a acceptor) Accept() (net.Conn, error) {
	for {
		conn, err := a.Listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				a.failed(err) // such as no more file descriptors; the server tries again
			}
			return nil, err
		}
		s := a.now.Load()
		if len(s.Peers) > 0 && !contains(s.Peers, peerOf(conn)) {
			_ = conn.Close()
			continue
		}
		if s.TLS != nil {
			return tls.Server(conn, s.TLS), nil
		}
		return conn, nil
	}
}

func peerOf(conn net.Conn) netip.Addr {
	ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
