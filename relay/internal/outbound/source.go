package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/postern-mail/postern/relay/delivery"
)

var errFamily = errors.New("host has no address of the family of SourceAddress")

// dial connects to an endpoint, from the source address of the next hop if it
// has one: what comes from elsewhere is not used.
func (c *Client) dial(ctx context.Context, h *hop, e *endpoint) (net.Conn, error) {
	from := h.SourceAddress
	if !from.IsValid() || e.network == "unix" {
		return c.cfg.Dial(ctx, e.network, e.addr)
	}
	raw, err := c.cfg.Dial(delivery.WithSourceAddress(ctx, from), e.network, e.addr)
	if err != nil {
		return nil, err
	}
	if mine, ok := raw.LocalAddr().(*net.TCPAddr); ok && mine.AddrPort().Addr().Unmap() != from {
		raw.Close()
		return nil, fmt.Errorf("connected from %v, not from SourceAddress %v", mine.IP, from)
	}
	return raw, nil
}
