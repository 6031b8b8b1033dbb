package updateapi

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/coredns-ddns/ddns/plugin/token"
	"github.com/coredns-ddns/ddns/plugin/zone"
)

// errInput is the outcome of a REST request that cannot be understood.
var errInput = errors.New("the request cannot be understood")

func badInput(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errInput, fmt.Sprintf(format, args...))
}

// restHandler answers with a value to be sent as JSON, nil for an empty reply,
// or an error to be sent as a problem.
type restHandler func(c *caller, w http.ResponseWriter, r *http.Request) (any, error)

// root is where the API is.
const root = "/api/v1"

func (s *Server) restRoutes(mux *http.ServeMux) {
	mux.Handle(root+"/hosts", methods{"GET": s.rest(s.listHosts), "POST": s.operator(s.importHosts)})
	mux.Handle(root+"/hosts/{name}", methods{
		"GET": s.rest(s.getHost), "PUT": s.rest(s.putHost), "DELETE": s.rest(s.deleteHost)})
	mux.Handle(root+"/hosts/{name}/history", methods{"GET": s.rest(s.getHistory)})
	mux.Handle(root+"/tokens", methods{"GET": s.operator(s.listTokens), "POST": s.operator(s.createToken)})
	mux.Handle(root+"/tokens/{id}", methods{"GET": s.operator(s.getToken), "DELETE": s.operator(s.revokeToken)})
	mux.Handle(root+"/tokens/{id}/rotate", methods{"POST": s.operator(s.rotateToken)})
	mux.Handle(root+"/whoami", methods{"GET": s.rest(s.whoami)})
	mux.Handle(root+"/status", methods{"GET": s.operator(s.status)})
	mux.Handle(root+"/store/init", methods{"POST": s.operator(s.initStore)})
	mux.Handle(root+"/store/forget", methods{"POST": s.operator(s.forgetStore)})
	mux.Handle(root+"/store/check", methods{"GET": s.operator(s.checkStore)})
	mux.Handle(root+"/backup", methods{"GET": s.operator(s.backup)})
	for _, path := range []string{root, root + "/"} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			problem(w, &Problem{Type: "about:blank", Title: "Not Found", Status: http.StatusNotFound})
		})
	}
}

// rest serves h to any caller with a valid token.
func (s *Server) rest(h restHandler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := s.authenticate(r, "rest", nil)
		var reply any
		if err == nil {
			reply, err = h(c, w, r)
		}
		if err != nil {
			restError(w, err)
			return
		}
		if reply == nil {
			return // h wrote what there is
		}
		sendJSON(w, "application/json", http.StatusOK, reply)
	}
}

// operator serves h to the admin token only.
func (s *Server) operator(h restHandler) http.HandlerFunc {
	return s.rest(func(c *caller, w http.ResponseWriter, r *http.Request) (any, error) {
		if !c.admin {
			return nil, errNotAdmin
		}
		return h(c, w, r)
	})
}

// created wraps a reply whose status is 201.
type created struct{ value any }

func sendJSON(w http.ResponseWriter, contentType string, status int, v any) {
	if c, ok := v.(created); ok {
		status, v = http.StatusCreated, c.value
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // all that is sent can be marshalled
	}
	w.Header().Set("Content-Type", contentType)
	body(w, status, string(b)+"\n")
}

func restError(w http.ResponseWriter, err error) {
	r := replyTo(err)
	p := &Problem{Type: problemType(r.title), Title: r.title, Status: r.status, Detail: token.Redact(err.Error())}
	if errors.As(err, new(*http.MaxBytesError)) {
		p = &Problem{Type: "about:blank", Title: "Body too large", Status: http.StatusRequestEntityTooLarge}
	}
	explain(w, p.Status, err, `Bearer realm="ddns"`)
	problem(w, p)
}

func problem(w http.ResponseWriter, p *Problem) {
	sendJSON(w, "application/problem+json", p.Status, p)
}

func problemType(title string) string {
	return "urn:ddns:problem:" + strings.ReplaceAll(strings.ToLower(title), " ", "-")
}

// readJSON decodes a body that must be one JSON value with known fields only.
func readJSON[T any](r *http.Request, v *T) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		if errors.As(err, new(*http.MaxBytesError)) {
			return err
		}
		return badInput("the body is not the JSON that is wanted: %v", err)
	}
	if v == nil {
		return badInput("the body is null, an object is wanted")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badInput("something follows the JSON value in the body")
	}
	return nil
}

// pathName is the host that a path speaks of.
func pathName(r *http.Request) (zone.Name, error) {
	n, err := zone.ParseName(r.PathValue("name"))
	if err != nil {
		return "", fmt.Errorf("%w: %w", errName, err)
	}
	return n, nil
}

// page reads ?limit= and ?cursor=.
func page(r *http.Request) (cursor string, limit int, _ error) {
	q := r.URL.Query()
	limit = 100
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return "", 0, badInput("limit is %.20q, 1 to 1000 is wanted", text)
		}
		limit = n
	}
	return q.Get("cursor"), limit, nil
}

// A list's cursor names the zone it has come to and the store's own cursor in
// it, which may be a host that the caller must not know of: it is sealed, for as
// long as the process lives.
func encodeCursor(origin zone.Name, inner string) string {
	v := url.Values{"z": {string(origin)}, "c": {inner}}
	return base64.RawURLEncoding.EncodeToString(cursors.Seal(nil, nil, []byte(v.Encode()), nil))
}

// cursors seals with a key of the process's own and random nonces.
var cursors = func() cipher.AEAD {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the length of the key is right
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the block size that GCM wants
	}
	return aead
}()

var errCursor = badInput("the cursor is not one of ours")

func decodeCursor(cursor string) (origin zone.Name, inner string, _ error) {
	if cursor == "" {
		return "", "", nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", "", errCursor
	}
	b, err := cursors.Open(nil, nil, sealed, nil)
	v, errQ := url.ParseQuery(string(b))
	if err != nil || errQ != nil {
		return "", "", errCursor
	}
	return zone.Name(v.Get("z")), v.Get("c"), nil
}

// etag is a host's revision as an entity tag.
func etag(r zone.Revision) string { return fmt.Sprintf("%q", strconv.FormatUint(uint64(r), 10)) }

// ifMatch reads the precondition of a change (RFC 9110, 13.1), nil when there is
// none. If-Match takes revisions in quotes, "0" for no host, or * for any host;
// If-None-Match takes * only: no host.
func ifMatch(r *http.Request) (func(zone.Revision) bool, error) {
	if none := strings.TrimSpace(strings.Join(r.Header.Values("If-None-Match"), ",")); none != "" {
		if none != "*" || r.Header.Get("If-Match") != "" {
			return nil, badInput("If-None-Match is %.40q, * alone is wanted", none)
		}
		return func(is zone.Revision) bool { return is == 0 }, nil
	}
	text := strings.TrimSpace(strings.Join(r.Header.Values("If-Match"), ","))
	switch text {
	case "":
		return nil, nil
	case "*":
		return func(is zone.Revision) bool { return is != 0 }, nil
	}
	var any []zone.Revision
	for _, tag := range strings.Split(text, ",") {
		n, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(tag), `"`), 10, 64)
		if err != nil {
			return nil, badInput("If-Match is %.40q, a revision in quotes is wanted", text)
		}
		any = append(any, zone.Revision(n))
	}
	return func(is zone.Revision) bool { return slices.Contains(any, is) }, nil
}
