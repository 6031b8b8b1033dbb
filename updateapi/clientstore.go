package updateapi

import (
	"context"
	"net/http"
	"net/url"
)

// InitStore makes zones, all of the server's when none are named, in a store
// that nodes share, where they are not there. It returns what it made.
func (c *Client) InitStore(ctx context.Context, zones ...string) ([]string, error) {
	var out StoreMade
	_, err := c.call(ctx, http.MethodPost, "/store/init", nil, StoreInit{Zones: zones}, &out)
	return out.Made, err
}

// ForgetStore accepts that what the store has lost of a zone, or of "tokens", is
// lost. It is false when nothing was.
func (c *Client) ForgetStore(ctx context.Context, zone string) (bool, error) {
	var out StoreForgotten
	_, err := c.call(ctx, http.MethodPost, "/store/forget", nil, StoreForget{Zone: zone}, &out)
	return out.Forgotten, err
}

// CheckStore lists what is not as it should be in the store of a zone, or of
// "tokens".
func (c *Client) CheckStore(ctx context.Context, zone string) ([]string, error) {
	var out StoreFindings
	_, err := c.call(ctx, http.MethodGet, "/store/check?"+url.Values{"zone": {zone}}.Encode(), nil, nil, &out)
	return out.Findings, err
}
