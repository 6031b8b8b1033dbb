package updateapi

import (
	"errors"
	"math"
	"net/http"
	"strconv"

	"github.com/coredns-ddns/ddns/plugin/store"
)

// reply says how an error is told: the word of dyndns2 for it, and status and
// title in REST.
type reply struct {
	err    error
	word   string
	status int
	title  string
}

// replies is the one place where errors become replies.
var replies = []reply{
	{errNoCredentials, "badauth", http.StatusUnauthorized, "No token"},
	{errBadToken, "badauth", http.StatusUnauthorized, "Token not valid"},
	{errNotAdmin, "nohost", http.StatusForbidden, "Not the operator"},
	{errNotGranted, "nohost", http.StatusForbidden, "Not granted"},
	{errReserved, "nohost", http.StatusForbidden, "Reserved name"},
	{errQuota, "nohost", http.StatusForbidden, "Quota used up"},
	{errNoZone, "nohost", http.StatusForbidden, "Not in a zone of ours"},
	{errName, "notfqdn", http.StatusUnprocessableEntity, "Not a host name"},
	{errAddress, "dnserr", http.StatusUnprocessableEntity, "Address refused"},
	{errInput, "dnserr", http.StatusUnprocessableEntity, "Invalid request"},
	{errNoHost, "nohost", http.StatusNotFound, "No such host"},
	{store.ErrNotFound, "nohost", http.StatusNotFound, "No such token"},
	{errWithheld, "911", http.StatusConflict, "Not done"},
	{errPrecondition, "911", http.StatusPreconditionFailed, "Changed meanwhile"},
	{store.ErrConflict, "911", http.StatusConflict, "Changed meanwhile"},
	{errNotReady, "911", http.StatusServiceUnavailable, "Not ready"},
	{store.ErrUnavailable, "911", http.StatusServiceUnavailable, "Store unavailable"},
}

// replyTo finds err's reply. What is in no table is our fault and passes.
func replyTo(err error) reply {
	for _, r := range replies {
		if errors.Is(err, r.err) {
			return r
		}
	}
	if errors.As(err, new(throttled)) {
		return reply{err, "911", http.StatusServiceUnavailable, "Too many requests"}
	}
	return reply{err, "911", http.StatusServiceUnavailable, "Internal error"}
}

// explain sets the headers that go with a status.
func explain(w http.ResponseWriter, status int, err error, challenge string) {
	switch status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", challenge)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter(err).Seconds()))))
	}
}
