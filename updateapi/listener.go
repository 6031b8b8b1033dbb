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
	http *http.Server
	now  atomic.Pointer[Served]
}

// Served is what a Listener serves.
type Served struct {
	Handler http.Handler
	TLS     *tls.Config    // nil: plain HTTP
	Peers   []netip.Prefix // who may connect; none: anybody
}

const (
	headerTimeout  = 10 * time.Second
	requestTimeout = 30 * time.Second
	replyTimeout   = requestTimeout + 5*time.Second // so that who is too slow is told so
	idleTimeout    = 120 * time.Second
	closeTimeout   = 5 * time.Second
)

// NewListener takes ln over. Nothing is accepted before Use.
func NewListener(ln net.Listener) *Listener {
	l := &Listener{Listener: ln}
	l.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			l.now.Load().Handler.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      replyTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// Handshakes that fail are the client's business, and many.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	return l
}

// Use serves s from now on.
func (l *Listener) Use(s *Served) {
	if l.now.Swap(s) == nil {
		go func() { _ = l.http.Serve(acceptor{l}) }() // ends with Close
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
