package redisstore

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultPrefix starts all keys unless a Config has another.
const DefaultPrefix = "ddns:"

// Config says where a Redis is and how to speak to it.
type Config struct {
	Addrs   []string // HOST:PORT, or the path of a unix socket; the sentinels when Master is set
	Unix    bool     // Addrs is one path
	Master  string   // the name that sentinels know the primary by; "": no Sentinel
	Cluster bool
	DB      int // 0 in a Cluster

	User, Password                 string
	SentinelUser, SentinelPassword string
	TLS                            *tls.Config // nil: none

	Prefix string // "": DefaultPrefix

	Wait        int           // replicas that must have an update before it is acknowledged
	WaitTimeout time.Duration // for them; 0: a second
}

// Parse reads URLs as the redis property has them:
//
//	redis://[USER:PASSWORD@]HOST[:PORT][/DB]   one server; rediss:// is TLS
//	unix://[USER:PASSWORD@]/PATH[?db=DB]       one server on this machine
//	…?master_name=NAME[&addr=HOST:PORT…]       Sentinel; its servers are the URLs' and the addrs
//	…?cluster=true[&addr=HOST:PORT…]           Cluster; several URLs without master_name are one too
//
// What a parameter says holds for all URLs. Errors number the URLs and never
// quote them, for a malformed one may show a password anywhere.
func Parse(urls ...string) (Config, error) {
	if len(urls) == 0 {
		return Config{}, errors.New("no Redis URL, want redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH")
	}
	var c Config
	scheme := ""
	for i, text := range urls {
		u, err := url.Parse(text)
		if err != nil {
			return Config{}, fmt.Errorf("redis URL %d is malformed, want redis://HOST:PORT, rediss://HOST:PORT or unix:///PATH, "+
				"a password with special characters percent-encoded", i+1)
		}
		if scheme != "" && u.Scheme != scheme {
			return Config{}, fmt.Errorf("redis URL %d has another scheme than the first, want all to have one", i+1)
		}
		scheme = u.Scheme
		if err := c.add(u); err != nil {
			return Config{}, fmt.Errorf("redis URL %d: %w", i+1, err)
		}
	}
	c.Cluster = c.Cluster || len(c.Addrs) > 1 && c.Master == ""
	return c, c.validate()
}

func (c *Config) add(u *url.URL) error {
	switch u.Scheme {
	case "redis":
	case "rediss":
		c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	case "unix":
		return c.addUnix(u)
	default:
		return errors.New("unknown scheme, want redis://, rediss:// or unix://")
	}
	addr, err := address(u.Host)
	if err != nil {
		return err
	}
	c.Addrs = append(c.Addrs, addr)
	if path := strings.Trim(u.Path, "/"); path != "" {
		if err := c.database(path); err != nil {
			return err
		}
	}
	return errors.Join(c.user(u.User), c.query(u.Query()))
}

func (c *Config) addUnix(u *url.URL) error {
	if u.Host != "" || !strings.HasPrefix(u.Path, "/") || c.Unix {
		return errors.New("want one absolute path, as unix:///run/redis.sock")
	}
	c.Unix, c.Addrs = true, []string{u.Path}
	return errors.Join(c.user(u.User), c.query(u.Query()))
}

// address completes HOST[:PORT].
func address(host string) (string, error) {
	if host == "" {
		return "", errors.New("no host, want redis://HOST:PORT")
	}
	if h, p, err := net.SplitHostPort(host); err == nil && h != "" && p != "" {
		return host, nil
	}
	host = strings.TrimSuffix(host, ":")
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.Contains(bare, ":") && bare == host {
		return "", errors.New("malformed address, want HOST:PORT")
	}
	return net.JoinHostPort(bare, "6379"), nil
}

func (c *Config) database(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return errors.New("the database is no number, want redis://HOST:PORT/0")
	}
	if c.DB != 0 && c.DB != n {
		return errors.New("another database than the URL before, want one for all")
	}
	c.DB = n
	return nil
}

func (c *Config) user(info *url.Userinfo) error {
	if info == nil {
		return nil
	}
	password, _ := info.Password()
	if (c.User != "" || c.Password != "") && (c.User != info.Username() || c.Password != password) {
		return errors.New("other credentials than the URL before, want one user for all")
	}
	c.User, c.Password = info.Username(), password
	return nil
}

func (c *Config) query(q url.Values) error {
	for name, values := range q {
		value := values[len(values)-1]
		switch name {
		case "master_name":
			if value == "" || c.Master != "" && c.Master != value {
				return errors.New("master_name: want one name for all URLs")
			}
			c.Master = value
		case "cluster":
			yes, err := strconv.ParseBool(value)
			if err != nil {
				return errors.New("cluster: want true or false")
			}
			c.Cluster = yes
		case "addr":
			for _, v := range values {
				addr, err := address(v)
				if err != nil {
					return err
				}
				c.Addrs = append(c.Addrs, addr)
			}
		case "db":
			if err := c.database(value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown parameter %q, want master_name, cluster, addr or db", name)
		}
	}
	return nil
}

// validate checks what Parse and those who fill in the rest can get wrong.
func (c *Config) validate() error {
	switch {
	case len(c.Addrs) == 0:
		return errors.New("redis: no address, want at least one")
	case c.Unix && (len(c.Addrs) > 1 || c.Master != "" || c.Cluster):
		return errors.New("redis: a unix socket is one server, want TCP addresses for Sentinel and Cluster")
	case c.Master != "" && c.Cluster:
		return errors.New("redis: both Sentinel and Cluster, want one of master_name and cluster")
	case c.Cluster && c.DB != 0:
		return fmt.Errorf("redis: database %d, want 0: a Cluster has no other", c.DB)
	case len(c.Addrs) > 1 && c.Master == "" && !c.Cluster:
		return errors.New("redis: several addresses, want them with Sentinel or Cluster only")
	case strings.ContainsFunc(c.Prefix, func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }):
		return fmt.Errorf("redis: prefix %q, want printable ASCII without blanks and braces", c.Prefix)
	case c.Wait < 0 || c.WaitTimeout < 0:
		return fmt.Errorf("redis: wait %d %v, want a number of replicas and a positive duration", c.Wait, c.WaitTimeout)
	}
	return nil
}

// String names the place without credentials: equal for what is the same place
// spelled in another order.
func (c Config) String() string {
	scheme := "redis"
	switch {
	case c.Unix:
		scheme = "unix"
	case c.TLS != nil:
		scheme = "rediss"
	}
	text := scheme + "://" + strings.Join(slices.Sorted(slices.Values(c.Addrs)), ",")
	switch {
	case c.Master != "":
		text += "?master_name=" + c.Master
	case c.Cluster:
		text += "?cluster=true"
	}
	return fmt.Sprintf("%s db %d prefix %s", text, c.DB, c.prefix())
}

// GoString keeps credentials out of %#v.
func (c Config) GoString() string { return c.String() }

func (c *Config) prefix() string {
	if c.Prefix == "" {
		return DefaultPrefix
	}
	return c.Prefix
}

func (c *Config) waitTimeout() time.Duration {
	if c.Wait == 0 {
		return 0
	}
	if c.WaitTimeout == 0 {
		return time.Second
	}
	return c.WaitTimeout
}
