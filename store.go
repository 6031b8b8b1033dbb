package ddns

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coredns-ddns/ddns/plugin/store"
	"github.com/coredns-ddns/ddns/plugin/store/boltstore"
	"github.com/coredns-ddns/ddns/plugin/store/redisstore"
)

// storeConfig says which store a block has.
type storeConfig struct {
	database string // file; absolute, without links as far as it exists
	redis    *redisstore.Config
	auth     credentials
	sentinel credentials
	tls      redisTLS
}

// credentials are a user and the file with the password.
type credentials struct{ user, file string }

// redisTLS is whom to trust, and how to be trusted, beside what a URL says.
type redisTLS struct{ ca, cert, key string }

// String names the store, without credentials: equal for equal stores.
func (s *storeConfig) String() string {
	if s.redis != nil {
		return s.redis.String()
	}
	return s.database
}

// open opens the store that the shares have under the key.
func (s *storeConfig) open() (key string, open func() (store.Store, error), err error) {
	if s.redis == nil {
		return s.database, func() (store.Store, error) { return boltstore.Open(s.database) }, nil
	}
	c := *s.redis
	if c.User, c.Password, err = s.auth.read("redis_auth", c.User, c.Password); err != nil {
		return "", nil, err
	}
	if c.SentinelUser, c.SentinelPassword, err = s.sentinel.read("sentinel_auth", "", ""); err != nil {
		return "", nil, err
	}
	if c.TLS, err = s.tls.config(c.TLS); err != nil {
		return "", nil, err
	}
	// Other credentials are another connection to the same store.
	secret := sha256.Sum256([]byte(strings.Join([]string{c.User, c.Password, c.SentinelUser, c.SentinelPassword}, "\x00")))
	key = fmt.Sprintf("%s %x %v %d %v", c, secret, s.tls, c.Wait, c.WaitTimeout)
	return key, func() (store.Store, error) {
		st, err := redisstore.Open(context.Background(), c)
		if err == nil {
			go warn(st)
		}
		return st, err
	}, nil
}

// warn logs what endangers the data in Redis, if that can be asked now.
func warn(st *redisstore.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	warnings, err := st.Warnings(ctx, redisstore.Tokens)
	if err != nil {
		return // the log says so already
	}
	for _, w := range warnings {
		log.Warningf("Redis: %s", w)
	}
}

// read returns the user and the password in the file, or those given before
// where there is no file.
func (c credentials) read(property, user, password string) (string, string, error) {
	if c.file == "" {
		return user, password, nil
	}
	b, err := os.ReadFile(c.file)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w; a readable file with the password is wanted", property, err)
	}
	return c.user, strings.TrimRight(string(b), "\r\n"), nil
}

// config adds r to what a rediss:// URL has.
func (r redisTLS) config(c *tls.Config) (*tls.Config, error) {
	if r.ca == "" {
		return c, nil
	}
	pem, err := os.ReadFile(r.ca)
	if err != nil {
		return nil, fmt.Errorf("redis_tls: %w; a readable file with certificates of authorities is wanted", err)
	}
	c = c.Clone()
	if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("redis_tls: %s holds no certificate, certificates of authorities in PEM are wanted", r.ca)
	}
	if r.cert != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, fmt.Errorf("redis_tls %s %s: %w; a certificate and its key in PEM are wanted", r.cert, r.key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (p *parser) parseDatabase(args []string) error {
	if len(args) != 1 || args[0] == "" {
		return p.wrong("database", args, "one file is")
	}
	p.store.database = database(p.path(args[0]))
	return nil
}

// database makes one path of all ways to spell it, links included.
func database(file string) string {
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		return real
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(file)); err == nil {
		return filepath.Join(dir, filepath.Base(file))
	}
	return file
}

// parseRedis never quotes a URL, which may hold a password.
func (p *parser) parseRedis(args []string) error {
	c, err := redisstore.Parse(args...)
	if err != nil {
		return p.Errf("redis: %v", err)
	}
	c.Prefix, c.Wait, c.WaitTimeout = p.redis.Prefix, p.redis.Wait, p.redis.WaitTimeout
	p.redis = c
	p.store.redis = &p.redis
	return nil
}

func (p *parser) parseRedisAuth(args []string) error {
	return p.parseCredentials("redis_auth", args, &p.store.auth)
}

func (p *parser) parseSentinelAuth(args []string) error {
	return p.parseCredentials("sentinel_auth", args, &p.store.sentinel)
}

func (p *parser) parseCredentials(name string, args []string, c *credentials) error {
	if len(args) != 2 {
		return p.Errf("%s: %d words given, a user and a file with the password are wanted", name, len(args))
	}
	*c = credentials{args[0], p.path(args[1])}
	return nil
}

func (p *parser) parseRedisTLS(args []string) error {
	switch len(args) {
	case 3:
		p.store.tls.cert, p.store.tls.key = p.path(args[1]), p.path(args[2])
		fallthrough
	case 1:
		p.store.tls.ca = p.path(args[0])
		return nil
	}
	return p.wrong("redis_tls", args, "CA [CERT KEY], files in PEM, is")
}

func (p *parser) parsePrefix(args []string) error {
	if len(args) != 1 {
		return p.wrong("prefix", args, "one word that starts all keys, such as ddns:, is")
	}
	p.redis.Prefix = args[0]
	return nil
}

func (p *parser) parseWait(args []string) error {
	const wanted = "REPLICAS [TIMEOUT] such as 1 or 2 500ms (at most 1s) is"
	if len(args) < 1 || len(args) > 2 {
		return p.wrong("wait", args, wanted)
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n > 100 {
		return p.wrong("wait", args, wanted)
	}
	p.redis.Wait = n
	if len(args) == 2 {
		d, err := time.ParseDuration(args[1])
		if err != nil || d < time.Millisecond || d > time.Second {
			return p.wrong("wait", args, wanted)
		}
		p.redis.WaitTimeout = d
	}
	return nil
}

// redisProperties mean nothing without redis.
var redisProperties = []string{"redis_auth", "sentinel_auth", "redis_tls", "prefix", "wait"}

// checkStore checks what the whole block says of its store.
func (p *parser) checkStore() error {
	s := &p.store
	if s.redis == nil {
		for _, name := range redisProperties {
			if p.seen[name] {
				return fmt.Errorf("%s: given without redis, redis URL... is wanted too", name)
			}
		}
		return nil
	}
	switch {
	case p.seen["database"]:
		return errors.New("database: given beside redis, one of the two is wanted")
	case s.tls.ca != "" && s.redis.TLS == nil:
		return errors.New("redis_tls: given for redis:// or unix://, rediss:// is wanted")
	case s.sentinel.file != "" && s.redis.Master == "":
		return errors.New("sentinel_auth: given without Sentinel, ?master_name=NAME is wanted in the redis URL")
	case strings.ContainsAny(s.redis.Prefix, "{} "):
		return fmt.Errorf("prefix: %q given, a word without braces is wanted", s.redis.Prefix)
	}
	return nil
}
